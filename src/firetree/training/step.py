"""One step of training, made of parts, and what a rank does with its network before and beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from firetree import models, own_code
from firetree.errors import RunFailedError, UserError
from firetree.models.cost import kept_buffers
from firetree.models.inputs import call, mapped
from firetree.observing.layers import BucketLayers, LayerNames
from firetree.observing.phases import durations
from firetree.seeding import seed_all, seeds
from firetree.tasks import TaskBatch
from firetree.torch_private import grad_buckets
from firetree.trace import BucketSpan, PassSpan, Phase, PhaseSpan, StepTrace, is_detailed
from firetree.training.between import Between
from firetree.training.own_network import TRIED
from firetree.training.worker import Worker


def settle(worker: Worker) -> BucketLayers:
    """Make two passes whose loss is 0, after which DDP keeps its buckets as they are; give their layers.

    DDP rearranges its buckets once, after the first backward pass. Done here, a resumed run cuts its
    sums like a run that never stopped, and the first step is timed like all others.
    """
    few = mapped(lambda it: it.to(worker.device), worker.task.example(TRIED))
    with kept_buffers(worker.model):
        for _ in range(2):
            (models.total(call(worker.parallel, few)) * 0).backward()  # type: ignore[no-untyped-call]
    worker.synchroniser.record.take()
    names = LayerNames(worker.model)
    return {bucket.index(): names.of(bucket) for bucket in grad_buckets(worker.parallel)}


def train_step(
    worker: Worker,
    batches: Iterator[TaskBatch],
    step: int,
    rate: float,
    looked_at: bool = True,
    between: Between | None = None,
    layers: BucketLayers | None = None,
) -> tuple[StepTrace, float]:
    """Make one step of synchronous SGD; return its trace and the sum of this rank's losses.

    The trace begins where the last step ended, with what was done `between`, or with the step. Where the
    weights are `looked_at` after it, ranks between two averages of local steps average them.

    Raises:
        CollectiveError: another rank went away.
        NotFiniteError: a loss or gradient is NaN or infinite, on all ranks alike; the step is undone.
    """
    between = between or Between()
    for group in worker.optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    for part in worker.parts:
        part.before(step)
    sent_before = worker.synchroniser.sent_bytes()
    start_s = time.monotonic()
    batch = next(batches).to(worker.device)
    _seed(worker, step)
    loaded_s, waited_s = time.monotonic(), between.waited_s()
    loss_sum, forward_s = _compute_gradients(worker, batch)
    backward_s = time.monotonic()
    finite = _clip(worker)
    for part in worker.parts:
        part.after_gradients(step, batch, loss_sum, finite)
    if finite:
        worker.optimizer.step()
    for part in worker.parts:
        part.after_step(step, looked_at)
    moments = start_s, loaded_s, forward_s, backward_s, time.monotonic()
    waited_s = between.waited_s() - waited_s
    # A new plan may change who counts.
    sent_bytes = max(0, worker.synchroniser.sent_bytes() - sent_before)
    counts = batch.count, sent_bytes
    return _trace(worker, step, counts, moments, waited_s, between, layers or {}), loss_sum


def _seed(worker: Worker, step: int) -> None:
    """Let dropout depend on the run's seed, step and rank alone, whatever reading the batch has drawn."""
    [seed] = seeds((worker.recipe.seed, step, worker.rank), 1).tolist()
    seed_all(seed)
    if worker.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _compute_gradients(worker: Worker, batch: TaskBatch) -> tuple[float, float]:
    """The sum of the batch's losses, and when its last forward pass ended.

    Of a batch that is computed in pieces, all but the last backward pass count as forward.
    """
    alone = worker.recipe.sync.has_local_steps
    # Alone, a rank's mean is over its own samples; DDP takes the mean over the ranks too.
    count = batch.count if alone else batch.global_count / worker.world_size
    worker.optimizer.zero_grad()
    loss_sum = 0.0
    *earlier, last = batch.parts(worker.recipe.optim.accumulate)
    with worker.parallel.no_sync():
        for piece in earlier:
            loss = _sum_losses(worker, piece)
            loss_sum += loss.item()
            _add_gradients(loss, count)
    # Samples that only stand in for a share must not change the statistics of batch normalisation.
    kept = nullcontext() if last.count else kept_buffers(worker.model)
    with kept, worker.parallel.no_sync() if alone else nullcontext():
        loss = _sum_losses(worker, last)
        loss_sum += loss.item()  # waits for a GPU
        forward_s = time.monotonic()
        _add_gradients(loss, count)
    return loss_sum, forward_s


def _sum_losses(worker: Worker, batch: TaskBatch) -> Tensor:
    with worker.arithmetic.autocast(worker.device):
        outputs = _outputs(worker, batch)
    if not batch.count:
        return models.total(outputs) * 0
    # Other losses than a task's own have no smoothing.
    smoothing = worker.recipe.optim.label_smoothing
    return worker.loss(outputs, batch.y, *([smoothing] if smoothing else []))


def _outputs(worker: Worker, batch: TaskBatch) -> Any:
    """What the network gives; where code of the user's own fails, RunFailedError says where."""
    try:
        return call(worker.forward, batch.x)
    except UserError:
        raise
    except Exception as error:
        if not own_code.is_own(name := worker.recipe.model.name):
            raise
        raise RunFailedError(f"{name} failed: {own_code.one_line(error)}") from error


def _add_gradients(loss: Tensor, count: float) -> None:
    """Add the gradients of a sum of losses divided by `count`.

    A NaN or infinite loss becomes NaN gradients, so the all-reduce shows it to every rank.
    """
    scale = 1 / count if count else 0.0
    if not math.isfinite(loss.item()):
        scale = math.nan
    (loss * scale).backward()  # type: ignore[no-untyped-call]


def _clip(worker: Worker) -> bool:
    """Clip the gradients where the recipe says so; False where their norm is not finite."""
    # Those of the optimiser, which need no search through the modules.
    groups = worker.optimizer.param_groups
    parameters = [p for group in groups for p in group["params"] if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    most = worker.recipe.optim.clip_norm
    finite = math.isfinite(norm)
    if finite and most is not None:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return finite


def _trace(
    worker: Worker,
    step: int,
    counts: tuple[int, int],
    moments: tuple[float, ...],
    waited_s: float,
    between: Between,
    layers: BucketLayers,
) -> StepTrace:
    """The step's trace.

    Local steps average after the optimiser: the backward phase lasts until the last sum ended.

    Args:
        counts: samples, and bytes sent.
        moments: the step's start and the ends of its phases, in seconds.
        waited_s: for a CPU, since the batch was loaded.
    """
    detailed = is_detailed(step)
    said = worker.synchroniser.record.take(detailed)
    start_s, loaded_s, forward_s, gradients_s, end_s = moments
    backward_s = max([gradients_s, *(bucket.end_s for bucket in said.buckets)])
    # What began in an earlier step was hidden by the steps since then.
    ready = [it.ready_s if it.ready_s >= start_s else gradients_s for it in said.buckets]
    ready_s = max([forward_s, *ready])
    ready_s = min(ready_s, backward_s) if said.buckets else backward_s
    end_s = max(end_s, backward_s)
    before, cpu_s = between.end(start_s, end_s)
    own: tuple[Phase, ...] = ("data", "forward", "backward", "communication", "optimizer")
    edges = pairwise((start_s, loaded_s, forward_s, ready_s, backward_s, end_s))
    phases = [*before, *(PhaseSpan(phase, *it) for phase, it in zip(own, edges, strict=True))]
    traced = StepTrace(
        step=step,
        start_s=phases[0].start_s,
        **durations(phases),
        samples=counts[0],
        sent_bytes=counts[1],
        buckets=tuple(_named(said.buckets, layers)) if detailed else said.buckets,
        algorithm=worker.synchroniser.algorithm,
        channels=said.channels,
        wires=said.wires,
        cpu_s=cpu_s,
        passes=(PassSpan(ready_s, backward_s),) if said.buckets else (),
        phases=tuple(it for it in phases if it.end_s > it.start_s) if detailed else (),
    )
    return replace(traced, starved_s=min(waited_s, traced.compute_s))


def _named(buckets: Iterable[BucketSpan], layers: BucketLayers) -> Iterator[BucketSpan]:
    for bucket in buckets:
        yield replace(bucket, layers=layers.get(bucket.index, ()))
