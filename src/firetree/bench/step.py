"""Replay a training step in the lab: gradients of the real sizes become ready at the real times.

Nothing is computed, so that sixteen hosts fit on two cores; everything is sent. So a prediction can
be checked for every model and network on one machine.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from firetree.durable import write_durably
from firetree.errors import RunFailedError, UserError
from firetree.lab import Lab, run_command
from firetree.network import Network, from_json
from firetree.network.plan import Plan, Prices, make_plan, restricted
from firetree.network.step import Profile, bucketed
from firetree.plan import Workload
from firetree.sync import Synchroniser

_TIMEOUT_S = 300.0

PLAN = "plan"
"""The best way for every bucket, as `firetree plan` would choose."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """One way to synchronise a model's step on so many hosts: predicted, and measured (medians).

    `speedup` is the number of samples a second against one host's, of the measured step.
    """

    model: str
    world_size: int
    way: str
    algorithm: str
    compute_s: float
    predicted_s: float
    measured_s: float
    least_s: float
    most_s: float

    @property
    def speedup(self) -> float:
        return self.world_size * self.compute_s / self.measured_s

    @property
    def predicted_speedup(self) -> float:
        return self.world_size * self.compute_s / self.predicted_s


def replay_in_lab(
    workload: Workload,
    network: Network,
    world_sizes: Sequence[int],
    ways: Sequence[str],
    repeats: int,
    tell: Callable[[str], None],
) -> list[StepRow]:
    """Set up a lab for each number of hosts, probe it, plan, and replay every way there.

    Raises:
        UserError: more hosts than the network has, or a machine that can hold no lab.
        RunFailedError: a replay failed.
    """
    rows: list[StepRow] = []
    for world_size in world_sizes:
        if not 2 <= world_size <= network.size:
            raise UserError(f"{world_size} hosts; expected 2 to the network's {network.size}")
        with Lab(network.first(world_size)) as lab, tempfile.TemporaryDirectory() as folder:
            probed = _probed(lab, Path(folder))
            tell(f"planning for {world_size} hosts")
            plans = plans_for(workload, probed, ways)
            tell(f"replaying {', '.join(plans)} on {world_size} hosts")
            seconds = _replayed(lab, Path(folder), workload.profile, plans, repeats)
        rows += [
            StepRow(
                workload.model,
                world_size,
                way,
                plan.algorithm,
                workload.profile.compute_s,
                plan.step_s,
                median(seconds[way]),
                min(seconds[way]),
                max(seconds[way]),
            )
            for way, plan in plans.items()
        ]
    return rows


def plans_for(workload: Workload, network: Network, ways: Sequence[str]) -> dict[str, Plan]:
    """The plan with all candidates, or with one alone, for each way."""
    prices = Prices(network)
    return {
        way: make_plan(
            workload.model, workload.profile, prices if way == PLAN else restricted(prices, way)
        )
        for way in ways
    }


def _firetree(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "firetree", *map(str, arguments)]


def _probed(lab: Lab, folder: Path) -> Network:
    path = folder / "network.json"
    run_command(lab, _firetree("probe", "--quiet", "-o", path))
    return from_json(path.read_text(encoding="utf-8"))


def _replayed(
    lab: Lab, folder: Path, profile: Profile, plans: dict[str, Plan], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each repeat, for each way."""
    part, result = folder / "part.json", folder / "result.json"
    gradients = [(bucket_ways(profile, plan), plan.to_json()) for plan in plans.values()]
    document = {
        "compute_s": profile.compute_s,
        "forward_s": profile.forward_s,
        "repeats": repeats,
        "ways": dict(zip(plans, gradients, strict=True)),
    }
    write_durably(part, json.dumps(document).encode())
    run_command(lab, _firetree("bench", "step", "--part", part, "--result", result))
    return {
        str(way): [float(s) for s in seconds]
        for way, seconds in json.loads(result.read_text(encoding="utf-8")).items()
    }


def bucket_ways(profile: Profile, plan: Plan) -> list[tuple[int, float]]:
    """The buckets of a plan: bytes, and seconds from the backward pass's start."""
    return [(b.size_bytes, b.ready_s) for b in bucketed(profile, plan.bucket_bytes)]


def replay(part: Path) -> dict[str, list[float]]:
    """On the ranks of the default process group: replay what a part says; seconds of the slowest."""
    document: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
    ways = {
        name: (buckets, Plan.from_json(plan)) for name, (buckets, plan) in document["ways"].items()
    }
    largest = max(size for buckets, _ in ways.values() for size, _ in buckets)
    memory = torch.ones(-(-largest // 4))
    synchronisers = {name: _synchroniser(plan) for name, (_, plan) in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    # The first turn, in which connections are made and schedules proved, does not count.
    for turn, name in itertools.product(range(document["repeats"] + 1), ways):
        taken_s = _step(
            synchronisers[name], ways[name][0], memory, document["forward_s"], document["compute_s"]
        )
        if turn:
            seconds[name].append(taken_s)
    if not bool((memory == 1).all()):
        raise RunFailedError(f"a mean of ones is not one on rank {dist.get_rank()}")
    return seconds


def _synchroniser(plan: Plan) -> Synchroniser:
    ranks = list(range(dist.get_world_size()))
    group = dist.new_group(ranks, backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return Synchroniser(plan, group, _TIMEOUT_S)


def _step(
    synchroniser: Synchroniser,
    buckets: Sequence[tuple[int, float]],
    memory: torch.Tensor,
    forward_s: float,
    compute_s: float,
) -> float:
    """Sleep where a real step computes; the seconds that the slowest rank took."""
    dist.barrier()
    start_s = time.monotonic()
    promises = []
    for index, (size_bytes, ready_s) in enumerate(buckets):
        time.sleep(max(0.0, start_s + forward_s + ready_s - time.monotonic()))
        promise: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        synchroniser.submit(memory[: size_bytes // 4], index, time.monotonic(), promise)
        promises.append(promise)
    time.sleep(max(0.0, start_s + compute_s - time.monotonic()))
    for promise in promises:
        promise.wait()
    slowest = torch.tensor([time.monotonic() - start_s], dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    synchroniser.take_spans()
    return slowest.item()


def steps_as_json(rows: Sequence[StepRow]) -> str:
    """A list of objects with the fields of `StepRow` and both speed-ups."""
    return json.dumps(
        [
            asdict(row) | {"speedup": row.speedup, "predicted_speedup": row.predicted_speedup}
            for row in rows
        ],
        indent=1,
    )
