"""A plan and a forecast as text and table cells."""

from __future__ import annotations

from firetree.commands import tables
from firetree.network import format_duration
from firetree.network.units import format_bytes
from firetree.planning.bound import lower_bound_s
from firetree.planning.forecast import Forecast
from firetree.planning.plan import ForecastPoint, Plan

POINT_HEADINGS = ("machines", "step", "speed-up", "efficiency", "synchronised by", "limited by")

_CANDIDATES_SHOWN = 6


def as_text(found: Forecast) -> str:
    """The points as a table, the ways to synchronise all machines, and the advice."""
    left = ("machines", "synchronised by", "limited by")
    parts = [
        headline(found),
        tables.as_text(POINT_HEADINGS, map(point_cells, found.points), left),
    ]
    if found.plan.candidates:
        ways = ways_cells(found.plan)[: 1 + _CANDIDATES_SHOWN]
        parts.append(f"{bound(found)}:\n" + tables.as_text(("way", "step"), ways, left=("way",)))
    parts.append("\n".join(f"- {sentence}" for sentence in found.advice))
    return "\n\n".join(parts)


def headline(found: Forecast) -> str:
    """The bytes and the computing time of a step."""
    profile = found.workload.profile
    return (
        f"{found.workload.model}: {format_bytes(profile.size_bytes)} of gradients, "
        f"{format_duration(profile.compute_s)} of computation a step"
    )


def bound(found: Forecast) -> str:
    """The lower bound on the all-reduce."""
    bound_s = lower_bound_s(found.network, found.workload.profile.size_bytes)
    return (
        f"Ways to synchronise {found.plan.world_size} machines; no all-reduce of all gradients can take "
        f"less than {format_duration(bound_s)}"
    )


def point_cells(point: ForecastPoint) -> tuple[str, ...]:
    """A point as the cells of a table."""
    return (
        str(point.world_size),
        format_duration(point.step_s),
        f"{point.speedup:.2f}",
        f"{point.efficiency:.0%}",
        point.algorithm,
        point.limited_by,
    )


def ways_cells(plan: Plan) -> list[tuple[str, str]]:
    """The step time of the plan, then of each single algorithm for all buckets, fastest first."""
    ways = [(way.algorithm, format_duration(way.step_s)) for way in plan.candidates]
    return [("the plan", format_duration(plan.step_s)), *ways]
