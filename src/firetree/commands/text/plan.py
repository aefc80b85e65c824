"""A plan and a forecast as text and table cells."""

from __future__ import annotations

from itertools import groupby

from firetree.commands import tables
from firetree.network import Network, format_duration
from firetree.network.units import format_bytes
from firetree.planning.bound import optimum_s
from firetree.planning.changes import Change
from firetree.planning.forecast import Forecast
from firetree.planning.plan import Plan
from firetree.planning.scaling import ForecastPoint
from firetree.planning.subsets import Subset, alike, called

POINT_HEADINGS = (
    "machines",
    "hosts",
    "step",
    "speed-up",
    "efficiency",
    "synchronised by",
    "limited by",
)
CHANGE_HEADINGS = ("change", "hosts", "speed-up", "gain", "effort", "top-1 lost")

CHANGES = (
    "What to change, by gain for effort; gain is against all hosts as they are, accuracy as measured "
    "elsewhere (reproduce/RESULTS.md)"
)

_CANDIDATES_SHOWN = 6


def as_text(found: Forecast) -> str:
    """The points as a table, the ways to synchronise the machines to use, the advice, and changes."""
    left = ("machines", "hosts", "synchronised by", "limited by", "change", "effort", "way")
    points = [point_cells(found.network, point) for point in found.points]
    parts = [headline(found), tables.as_text(POINT_HEADINGS, points, left)]
    if found.plan.candidates:
        ways = ways_cells(found.plan)[: 1 + _CANDIDATES_SHOWN]
        parts.append(f"{bound(found)}:\n" + tables.as_text(("way", "step"), ways, left))
    parts.append("\n".join(f"- {sentence}" for sentence in found.advice))
    if found.changes:
        cells = [change_cells(found.network, change) for change in found.changes]
        parts.append(f"{CHANGES}:\n" + tables.as_text(CHANGE_HEADINGS, cells, left))
    return "\n\n".join(parts)


def headline(found: Forecast) -> str:
    """The bytes and the computing time of a step, and its samples, which may be an example's own."""
    workload, profile = found.workload, found.workload.profile
    return (
        f"{workload.model}: {format_bytes(profile.size_bytes)} of gradients, "
        f"{format_duration(profile.compute_s)} of computation a step of {workload.samples} samples"
    )


def bound(found: Forecast) -> str:
    """Which machines the plan is for, and the optimum of their all-reduce."""
    chosen = found.network.of(found.hosts)
    bound_s = optimum_s(chosen, found.workload.profile.size_bytes)
    few = len(found.hosts) < found.network.size
    which = (
        f" ({_which(found.network, found.hosts)}; start these alone, in this order)" if few else ""
    )
    return (
        f"Ways to synchronise {found.plan.world_size} machines{which}; no trees can sum all gradients "
        f"in less than {format_duration(bound_s)}"
    )


def point_cells(network: Network, point: ForecastPoint) -> tuple[str, ...]:
    """A point as the cells of a table."""
    return (
        str(point.world_size),
        _which(network, point.hosts),
        format_duration(point.step_s),
        f"{point.speedup:.2f}",
        f"{point.efficiency:.0%}",
        point.algorithm,
        point.limited_by,
    )


def change_cells(network: Network, change: Change) -> tuple[str, ...]:
    """A change as the cells of a table."""
    return (
        change.what,
        _which(network, change.hosts),
        f"{change.speedup:.2f}",
        f"{change.gain:.2f}",
        change.effort,
        _lost(change.lost_points),
    )


def _which(network: Network, hosts: Subset) -> str:
    """`all`, `any 2`, `all but host 3`, or the hosts."""
    left_out = {*range(network.size)} - {*hosts}
    if not left_out:
        return "all"
    if len(hosts) == 1 or len(alike(network)) == 1:
        return f"any {len(hosts)}"
    if len(left_out) < len(hosts):
        return f"all but {called(network, left_out)}"
    return called(network, hosts)


def _lost(points: float | None) -> str:
    if points is None:
        return "not measured"
    return f"{points:.2f} points" if points > 0 else "none"


def ways_cells(plan: Plan) -> list[tuple[str, str]]:
    """The step time of the plan, then of each single algorithm for all buckets, fastest first; equals in a row."""
    timed = groupby(plan.candidates, lambda way: format_duration(way.step_s))
    ways = [(", ".join(way.algorithm for way in equals), taken) for taken, equals in timed]
    return [("the plan", format_duration(plan.step_s)), *ways]
