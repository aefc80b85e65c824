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
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from firetree.errors import RunFailedError, UserError
from firetree.lab import Lab, run_command
from firetree.models.profile import Gradient, Profile, Workload
from firetree.network import Network
from firetree.peers import broadcast_json
from firetree.planning.plan import Plan, Prices, make_plan, restricted
from firetree.planning.step import Bucket, bucketed
from firetree.probing import probe_ranks
from firetree.sync import Synchroniser
from firetree.torch_private import group_store

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
    """Set up a lab for each number of hosts, whose ranks probe it, plan, and replay every way.

    Raises:
        UserError: more hosts than the network has, no such way, or a machine that can hold no lab.
        RunFailedError: a replay failed.
    """
    rows: list[StepRow] = []
    for world_size in world_sizes:
        if not 2 <= world_size <= network.size:
            raise UserError(f"{world_size} hosts; expected 2 to the network's {network.size}")
        tell(f"replaying {', '.join(ways)} on {world_size} hosts")
        with Lab(network.first(world_size)) as lab, tempfile.TemporaryDirectory() as folder:
            part, result = Path(folder, "part.json"), Path(folder, "result.json")
            part.write_text(json.dumps(_document(workload, ways, repeats)), encoding="utf-8")
            replaying = ("bench", "replay", str(part), str(result))
            run_command(lab, [sys.executable, "-m", "firetree", *replaying])
            rows += [StepRow(**row) for row in json.loads(result.read_text(encoding="utf-8"))]
    return rows


def _document(workload: Workload, ways: Sequence[str], repeats: int) -> dict[str, Any]:
    return {
        "model": workload.model,
        "profile": asdict(workload.profile),
        "ways": list(ways),
        "repeats": repeats,
    }


def replay(part: Path) -> list[StepRow]:
    """On the ranks of the default process group: probe, plan, and replay what a part says."""
    document: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
    profile = _profile(document["profile"])
    plans = _plans(document["model"], profile, document["ways"])
    buckets = {way: bucketed(profile, plan.bucket_bytes) for way, plan in plans.items()}
    largest = max(bucket.size_bytes for several in buckets.values() for bucket in several)
    memory = torch.ones(-(-largest // 4))
    synchronisers = {way: _synchroniser(plan) for way, plan in plans.items()}
    seconds: dict[str, list[float]] = {way: [] for way in plans}
    # The first turn, in which connections are made and schedules proved, does not count.
    for turn, way in itertools.product(range(document["repeats"] + 1), plans):
        taken_s = _step(synchronisers[way], buckets[way], memory, profile)
        if turn:
            seconds[way].append(taken_s)
    if not bool((memory == 1).all()):
        raise RunFailedError(f"a mean of ones is not one on rank {dist.get_rank()}")
    return [_row(plan, way, seconds[way]) for way, plan in plans.items()]


def _plans(model: str, profile: Profile, ways: Sequence[str]) -> dict[str, Plan]:
    """Probe the network; rank 0 plans, with all candidates or with one alone, and all get the same."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    found = probe_ranks(group_store(), rank, world_size, brief=True)
    made = {}
    if rank == 0:
        prices = Prices(found.network)
        for way in ways:
            plan = make_plan(model, profile, prices if way == PLAN else restricted(prices, way))
            made[way] = plan.to_json()
    return {way: Plan.from_json(text) for way, text in broadcast_json(made).items()}


def _profile(document: dict[str, Any]) -> Profile:
    gradients = tuple(
        Gradient(**{**gradient, "shape": tuple(gradient["shape"])})
        for gradient in document["gradients"]
    )
    return Profile(document["forward_s"], document["backward_s"], gradients)


def _row(plan: Plan, way: str, seconds: Sequence[float]) -> StepRow:
    return StepRow(
        model=plan.model,
        world_size=plan.world_size,
        way=way,
        algorithm=plan.algorithm,
        compute_s=plan.compute_s,
        predicted_s=plan.step_s,
        measured_s=median(seconds),
        least_s=min(seconds),
        most_s=max(seconds),
    )


def _synchroniser(plan: Plan) -> Synchroniser:
    ranks = list(range(dist.get_world_size()))
    group = dist.new_group(ranks, timedelta(seconds=_TIMEOUT_S), backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return Synchroniser(plan, group, _TIMEOUT_S)


def _step(
    synchroniser: Synchroniser,
    buckets: Sequence[Bucket],
    memory: torch.Tensor,
    profile: Profile,
) -> float:
    """Sleep where a real step computes; the seconds that the slowest rank took."""
    dist.barrier()
    start_s = time.monotonic()
    promises = []
    for index, bucket in enumerate(buckets):
        time.sleep(max(0.0, start_s + profile.forward_s + bucket.ready_s - time.monotonic()))
        promises.append(synchroniser.submit(memory[: bucket.size_bytes // 4], index))
    time.sleep(max(0.0, start_s + profile.compute_s - time.monotonic()))
    for promise in promises:
        promise.wait()
    synchroniser.raise_failure()
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
