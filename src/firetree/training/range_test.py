"""The learning-rate range test: a short run whose rate grows until the loss does (Smith 2017, §3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist

from firetree.durable import make_folder, write_json_lines
from firetree.errors import ArgumentError, UserError
from firetree.launch import RankInfo, joined
from firetree.tasks import CatchData, Task, TaskBatch
from firetree.training.alike import load_alike
from firetree.training.between import Between
from firetree.training.finite import NotFiniteError
from firetree.training.recipe import Recipe
from firetree.training.step import settle, train_step
from firetree.training.worker import Worker, build_worker

LEAST_RATE, MOST_RATE, STEPS = 1e-5, 10.0, 150
_SMOOTHING = 0.9
_DIVERGED = 4.0
"""The test ends at a loss of so many times the least one."""


@dataclass(frozen=True, slots=True)
class RangePoint:
    """The mean loss of a step's batch at a rate, and the moving average up to it."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The losses at ever higher rates."""

    points: tuple[RangePoint, ...]

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, by the logarithm of the rate."""
        falls = [after.smoothed - before.smoothed for before, after in pairwise(self.points)]
        return self.points[falls.index(min(falls))].rate if falls else LEAST_RATE

    @property
    def least(self) -> float:
        """The rate at which the smoothed loss is least."""
        return min(self.points, key=lambda point: point.smoothed).rate


def find_rate(recipe: Recipe, rank_info: RankInfo, run_dir: Path) -> RangeTest | None:
    """Train with ever higher rates.

    All ranks call it; rank 0 writes `find-lr.jsonl` to the folder and gets the result.

    Raises:
        UserError: the recipe, the data or the folder cannot be used, or the loss says nothing.
    """
    if isinstance(recipe.data, CatchData):
        raise ArgumentError(
            "find_lr",
            "follows the loss, and an actor–critic's does not say how well it plays; compare short "
            "runs with different optim.lr instead",
        )
    with joined(rank_info, recipe.sync.timeout_s):
        task = load_alike(recipe, rank_info.world_size, None, find_lr=True)
        if rank_info.rank == 0:
            make_folder(run_dir)
        points = _measure(recipe, rank_info, task)
    if not points:
        raise UserError(
            f"the loss or its gradient is not finite at a rate of {LEAST_RATE:g} already; look at the "
            "recipe's model and data"
        )
    if rank_info.rank != 0:
        return None
    write_json_lines(run_dir / "find-lr.jsonl", map(asdict, points))
    return RangeTest(points)


def _measure(recipe: Recipe, rank_info: RankInfo, task: Task) -> tuple[RangePoint, ...]:
    worker = build_worker(recipe, rank_info, task)
    settle(worker)
    with closing(worker.loader.batches(0)) as batches:
        return tuple(_points(worker, batches))


def _points(worker: Worker, batches: Iterator[TaskBatch]) -> Iterator[RangePoint]:
    average, least, between = 0.0, math.inf, Between()
    for step in range(STEPS):
        rate = LEAST_RATE * (MOST_RATE / LEAST_RATE) ** (step / (STEPS - 1))
        try:
            trace, loss_sum = train_step(worker, batches, step, rate, between=between)
        except NotFiniteError:
            return
        totals = torch.tensor([loss_sum, trace.samples], dtype=torch.float64)
        dist.all_reduce(totals)
        loss = (totals[0] / totals[1]).item()
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed = average / (1 - _SMOOTHING ** (step + 1))
        yield RangePoint(rate, loss, smoothed)
        least = min(least, smoothed)
        if smoothed > _DIVERGED * least:
            return
