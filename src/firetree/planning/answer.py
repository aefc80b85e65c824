"""What `firetree plan` is asked, and what it answers: points, the plan for all hosts, advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import tables
from firetree.models.profile import Workload
from firetree.network import Network, format_duration, to_json
from firetree.planning.advice import advise, describe_point
from firetree.planning.bound import lower_bound_s
from firetree.planning.plan import Plan, Point, Prices, scaling

_CANDIDATES_SHOWN = 6


@dataclass(frozen=True)
class PlanOptions:
    """Predict what 1, 2, 4 … machines bring for a model on a network, and how to synchronise them.

    Each machine keeps its batch: `speedup` counts samples a second against one machine.
    """

    model: str = "squeezenet_v1_1"
    """A network's name, or module:function that returns a torch module."""
    network: str = "8 x 1gbit"
    """A network's JSON file, as firetree probe writes it, or '8 x 1gbit', '4 x 10gbit | 4 x 10gbit /
    1gbit' for two racks."""
    batch: int = 32
    """Samples a step on each machine."""
    size: int | None = None
    """Height and width of the pictures; by default the network's own."""
    compute: str | None = None
    """How long a machine computes a step, as in 0.1s; by default measured on this one."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the plan for all machines, for firetree train --plan."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that is predicted for a model on a network."""

    workload: Workload
    network: Network
    points: tuple[Point, ...]
    plan: Plan
    advice: tuple[str, ...]


def answer(workload: Workload, network: Network, tell: Callable[[str], None]) -> Answer:
    """Price everything; `tell` hears what is being done, as it takes seconds to minutes."""
    prices = Prices(network)
    points_and_plans = list(scaling(workload.model, workload.profile, prices, tell))
    points = tuple(point for point, _ in points_and_plans)
    plan = points_and_plans[-1][1]
    tell("pricing what would change the answer")
    advice = advise(workload.profile, prices, points, plan, workload.layers)
    return Answer(workload, network, points, plan, tuple(advice))


def as_json(found: Answer) -> str:
    """`{"model", "network", "points", "advice", "plan"}`."""
    return json.dumps(
        {
            "model": found.workload.model,
            "network": json.loads(to_json(found.network)),
            "points": [asdict(point) for point in found.points],
            "advice": found.advice,
            "plan": json.loads(found.plan.to_json()),
        },
        indent=1,
    )


def as_text(found: Answer) -> str:
    """For a person: the points as a table, the ways to synchronise all, and the advice."""
    profile, plan = found.workload.profile, found.plan
    headings = ("machines", "step", "speed-up", "efficiency", "synchronised by", "limited by")
    left = ("machines", "synchronised by", "limited by")
    parts = [
        f"{found.workload.model}: {profile.size_bytes / 1e6:.1f} MB of gradients, "
        f"{format_duration(profile.compute_s)} of computation a step",
        tables.as_text(headings, map(describe_point, found.points), left),
    ]
    if plan.candidates:
        bound_s = lower_bound_s(found.network, profile.size_bytes)
        ways = [("the plan", format_duration(plan.step_s))]
        ways += [
            (way.algorithm, format_duration(way.step_s))
            for way in plan.candidates[:_CANDIDATES_SHOWN]
        ]
        parts.append(
            f"Ways to synchronise {plan.world_size} machines; no all-reduce of all gradients can take "
            f"less than {format_duration(bound_s)}:\n"
            + tables.as_text(("way", "step"), ways, left=("way",))
        )
    parts.append("\n".join(f"- {sentence}" for sentence in found.advice))
    return "\n\n".join(parts)
