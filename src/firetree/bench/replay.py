"""Replay a training step in the lab: gradients of the real sizes become ready at the real times.

Nothing is computed, so that sixteen hosts fit on two cores; everything is sent. So a prediction can
be checked for every model and network on one machine.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from firetree.bench.measure import LONG_S
from firetree.documents import from_document
from firetree.errors import ArgumentError, RunFailedError
from firetree.lab import Lab, run_command
from firetree.launch import FIRETREE, Hear, RankInfo, call, joined
from firetree.models.profile import Profile
from firetree.models.workload import load_workload
from firetree.network import Network
from firetree.peers import BACKEND, broadcast_json
from firetree.planning.plan import Plan, Prices, make_plan, restricted
from firetree.planning.step import Bucket, bucketed
from firetree.probing import probe_ranks
from firetree.progress import Progress, log
from firetree.sync import Synchroniser
from firetree.torch_private import group_store

if TYPE_CHECKING:
    from torch import nn

    from firetree.models.inputs import Inputs

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


def step(
    model: str | Callable[[], Any] | nn.Module = "squeezenet_v1_1",
    network: str | Path | Network = "4 x 200mbit",
    ways: Sequence[str] = (PLAN, "gloo"),
    *,
    world_size: int | Sequence[int] | None = None,
    batch: int = 32,
    size: int | None = None,
    compute_s: float | None = None,
    example: Inputs | None = None,
    repeats: int = 3,
    progress: Progress = log,
) -> list[StepRow]:
    """Replay a model's training step on an emulated cluster, beside its prediction.

    For each number of hosts, ranks in a lab probe it, plan, and replay every way. Needs Linux and root.

    Args:
        model, batch, size, compute_s, example: as `firetree.plan` takes them.
        network: one line, the path of a network's JSON, or a `Network`.
        ways: `plan` for the best way for each bucket, or an algorithm for all of them.
        world_size: one number of hosts or several; by default all of the network's.
        repeats: replays of each way, taken in turn.
        progress: called with a line a number of hosts.

    Returns:
        A row for each way and number of hosts.

    Raises:
        UserError: more hosts than the network has, no such way, or a machine that can hold no lab.
        RunFailedError: a replay failed.
    """
    if repeats < 1:
        raise ArgumentError("repeats", f"is {repeats}; expected 1 or more")
    found = network if isinstance(network, Network) else Network.load(network)
    several = [world_size or found.size] if not isinstance(world_size, Sequence) else world_size
    for hosts in several:
        if not 2 <= hosts <= found.size:
            raise ArgumentError(
                "world_size", f"is {hosts}; expected 2 to the network's {found.size}"
            )
    workload = load_workload(model, batch=batch, size=size, compute_s=compute_s, example=example)
    asked = {
        "model": workload.model,
        "profile": asdict(workload.profile),
        "ways": list(ways),
        "repeats": repeats,
    }
    rows: list[StepRow] = []
    for hosts in several:
        progress(f"replaying {', '.join(ways)} on {hosts} hosts")
        with Lab(found.first(hosts)) as lab:
            rows += [StepRow(**row) for row in call(partial(_start, lab), _replay, asked, progress)]
    return rows


class _Heard(io.BytesIO):
    """Standard output whose lines are heard."""

    def __init__(self, hear: Hear) -> None:
        super().__init__()
        self._hear = hear

    def write(self, lines: Any) -> int:
        for line in bytes(lines).splitlines():
            self._hear(line)
        return len(lines)


def _start(lab: Lab, arguments: Sequence[str], hear: Hear) -> None:
    run_command(lab, [*FIRETREE, *arguments], out=_Heard(hear))


def _replay(
    rank_info: RankInfo,
    progress: Progress,
    model: str,
    profile: dict[str, Any],
    ways: Sequence[str],
    repeats: int,
) -> list[dict[str, Any]]:
    known = from_document(Profile, profile, "the profile")
    with joined(rank_info, timeout_s=LONG_S):
        return [asdict(row) for row in _rows(model, known, ways, repeats)]


def _rows(model: str, profile: Profile, ways: Sequence[str], repeats: int) -> list[StepRow]:
    """On the ranks of the default process group: probe, plan, and replay each way."""
    plans = _plans(model, profile, ways)
    buckets = {way: bucketed(profile, plan.bucket_bytes) for way, plan in plans.items()}
    largest = max(bucket.size_bytes for several in buckets.values() for bucket in several)
    memory = torch.ones(-(-largest // 4))
    synchronisers = {way: _synchroniser(plan) for way, plan in plans.items()}
    seconds: dict[str, list[float]] = {way: [] for way in plans}
    # The first turn, in which connections are made and schedules proved, does not count.
    for turn, way in itertools.product(range(repeats + 1), plans):
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
    group = dist.new_group(ranks, timedelta(seconds=_TIMEOUT_S), backend=BACKEND)
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
    synchroniser.record.take()
    return slowest.item()
