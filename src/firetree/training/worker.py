"""One rank's share of the training: its network, optimiser and data, and what it does in a step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from firetree import models
from firetree.data import epoch_steps
from firetree.launch import RankInfo, find_device
from firetree.peers import waiting
from firetree.planning.plan import Plan
from firetree.sync import Synchroniser, attach, gradient_bytes
from firetree.tasks import Task, TaskBatch, TaskLoader, kind_of
from firetree.trace import StepTrace
from firetree.training import statistics
from firetree.training.arithmetic import Arithmetic, Forward, choose_arithmetic, compiled
from firetree.training.average import moving_average
from firetree.training.finite import not_finite
from firetree.training.local_steps import OUTER_MOMENTUM, LocalSteps, moments, share_moments
from firetree.training.optimizers import build_optimizer
from firetree.training.planning import AUTO, Planner, PlanOrAuto
from firetree.training.recipe import OptimRecipe, Recipe
from firetree.training.sparsity import Sparsity


@dataclass(frozen=True, slots=True)
class Worker:
    """What a rank trains with. `parallel` wraps `model`, and `forward` is `parallel`, perhaps compiled;
    all hold the same weights.

    `average` holds their moving average, where the recipe wants one; `remarks` tell the user what
    was chosen.
    """

    rank: int
    world_size: int
    device: torch.device
    seed: int
    arithmetic: Arithmetic
    optim: OptimRecipe
    model: nn.Module
    average: AveragedModel | None
    parallel: DistributedDataParallel
    forward: Forward
    optimizer: torch.optim.Optimizer
    synchroniser: Synchroniser
    local: LocalSteps | None
    loader: TaskLoader
    task: Task
    planner: Planner | None
    sparsity: Sparsity | None
    remarks: tuple[str, ...]

    def sync_state(self) -> dict[str, Tensor]:
        """What synchronisation keeps from step to step; all ranks call it together."""
        if self.local:
            share_moments(self.model, self.optimizer, self.parallel.process_group)
        return self.synchroniser.state() | (self.local.state() if self.local else {})

    def restore_sync(self, state: dict[str, Tensor]) -> None:
        """Go on with what `sync_state` gave, the model having its weights already."""
        buckets = {name: it for name, it in state.items() if name != OUTER_MOMENTUM}
        self.synchroniser.restore(buckets)
        if self.local:
            self.local.restore(state.get(OUTER_MOMENTUM))

    def own(self) -> dict[str, Tensor]:
        """This rank's own state when a run may stop, by name; nothing where it is alone.

        The weights are alike on all ranks then.
        """
        if self.world_size == 1:
            return {}
        found = self.synchroniser.kept_back() | statistics.running(self.model)
        if self.average is not None:
            averaged = statistics.running(self.average.module)
            found |= {f"{name}/averaged": statistic for name, statistic in averaged.items()}
        if self.local:
            found |= moments(self.model, self.optimizer)
        return found

    @torch.no_grad()
    def restore_own(self, own: Mapping[str, Tensor]) -> None:
        """Go on with what `own` gave this rank, once all else is restored.

        The state of a compression or of local steps that the run no longer has is left out.
        """
        for name, tensor in self.own().items():
            if name in own:
                tensor.copy_(own[name])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Over the whole test set: top-1 accuracy (0 to 1) and mean loss."""

    accuracy: float
    loss: float


def build_worker(
    recipe: Recipe,
    rank_info: RankInfo,
    task: Task,
    plan: PlanOrAuto = None,
    earlier: Arithmetic | None = None,
) -> Worker:
    """Build the network from the recipe's seed and join it to those of the other ranks.

    `earlier` is what rank 0 knows of the arithmetic of a run that is resumed.

    Raises:
        UserError: the network cannot have the recipe's fields, the plan is not for it, or a host lacks
            GPUs.
    """
    device = find_device(recipe.device, rank_info)
    torch.manual_seed(recipe.seed)
    model = task.build(asdict(recipe.model)).to(device)
    share = -(-recipe.optim.batch_size // rank_info.world_size)
    example = task.example(share).to(device)
    part = example[: -(-share // recipe.optim.accumulate)]
    arithmetic, choice = choose_arithmetic(recipe.precision, model, part, earlier)
    model = arithmetic.laid_out(model)
    planner, way = _way(recipe, model, example, plan)
    bucket_bytes = way.bucket_bytes if isinstance(way, Plan) else recipe.sync.bucket_bytes
    parallel = DistributedDataParallel(
        model,
        process_group=_group_of(device),
        bucket_cap_mb=bucket_bytes / 2**20,
        gradient_as_bucket_view=True,
    )
    parallel.broadcast_buffers = False  # every step; ranks share them when someone looks
    synchroniser = attach(
        parallel, way, compression=recipe.sync.compression, timeout_s=recipe.sync.timeout_s
    )
    forward: Forward = parallel
    reason = None
    if recipe.compile:
        forward, reason = compiled(parallel, part, arithmetic)
    optim = recipe.optim
    return Worker(
        rank=rank_info.rank,
        world_size=rank_info.world_size,
        device=device,
        seed=recipe.seed,
        arithmetic=arithmetic,
        optim=optim,
        model=model,
        average=None if optim.ema is None else moving_average(model, optim.ema),
        parallel=parallel,
        forward=forward,
        optimizer=build_optimizer(optim, model),
        synchroniser=synchroniser,
        local=_local_steps(recipe, model, synchroniser),
        loader=task.loader(
            batch_size=optim.batch_size,
            seed=recipe.seed,
            rank=rank_info.rank,
            world_size=rank_info.world_size,
            channels_last=arithmetic.channels_last,
        ),
        task=task,
        planner=planner,
        sparsity=_sparsity(recipe, model, task.examples),
        remarks=(
            *task.account.lines(),
            *(remark for remark in (_named(device), choice, reason) if remark),
        ),
    )


def _named(device: torch.device) -> str | None:
    """A line about a GPU."""
    if device.type == "cpu":
        return None
    return f"each worker computes on a GPU, rank 0 on {torch.cuda.get_device_name(device)}"


def _group_of(device: torch.device) -> dist.ProcessGroup | None:
    """What DDP itself speaks over: NCCL between GPUs, else the default group."""
    if device.type == "cpu":
        return None
    return cast(dist.ProcessGroup, dist.new_group(backend="nccl"))


def _sparsity(recipe: Recipe, model: nn.Module, examples: int) -> Sparsity | None:
    if recipe.sparse.density is None:
        return None
    return Sparsity(model, recipe.sparse, epoch_steps(examples, recipe.optim.batch_size))


def _local_steps(recipe: Recipe, model: nn.Module, synchroniser: Synchroniser) -> LocalSteps | None:
    return LocalSteps(model, synchroniser, recipe.sync) if recipe.sync.local_steps > 1 else None


def _way(
    recipe: Recipe, model: nn.Module, example: Tensor, plan: PlanOrAuto
) -> tuple[Planner | None, str | Plan]:
    """How gradients are summed, and who looks after it."""
    world_size = dist.get_world_size()
    if plan is None or (plan == AUTO and world_size == 1):
        return None, recipe.sync.algorithm
    if isinstance(plan, Plan):
        plan.check(world_size, gradient_bytes(model))
        return None, plan
    planner = Planner(model, example)
    return planner, planner.plan


def load_task(recipe: Recipe) -> Task:
    """What the recipe trains on (UserError where its data cannot be used)."""
    return kind_of(recipe.data.name).load(asdict(recipe.data), recipe.seed)


def settle(worker: Worker) -> None:
    """Two passes without samples, after which DDP keeps its buckets as they are.

    DDP rearranges its buckets once, after the first backward pass. Done here, the sums of a resumed
    run are cut as those of a run that never stopped, and the first step is timed like all others.
    """
    nothing = worker.task.example(0).to(worker.device)
    for _ in range(2):
        models.total(worker.parallel(nothing)).backward()  # type: ignore[no-untyped-call]
    worker.synchroniser.take_spans()


def train_step(
    worker: Worker,
    batches: Iterator[TaskBatch],
    step: int,
    learning_rate: float,
    average: bool = True,
) -> tuple[StepTrace, float]:
    """One step of synchronous SGD; gives its trace and the sum of this rank's losses.

    `average` says that someone looks at the weights after this step: workers in the middle of local
    steps are averaged then too, and running statistics of batch normalisation only then. Of a batch
    that is computed in parts, the trace counts all but the last part's backward pass as forward.

    Raises:
        CollectiveError: another rank went away.
        NotFiniteError: a loss or gradient is no finite number, on all ranks alike; the step is undone.
    """
    for group in worker.optimizer.param_groups:
        group["lr"] = learning_rate
    _seed(worker, step)
    if worker.sparsity is not None:
        worker.sparsity.choose(step)
    worker.synchroniser.take_spans()  # of a step that was left out
    sent_before = worker.synchroniser.sent_bytes()
    start_s = time.monotonic()
    batch = next(batches).to(worker.device)
    loaded_s = time.monotonic()
    worker.optimizer.zero_grad()
    loss_sum, forward_s = _gradients(worker, batch)
    shared = worker.local is None or average or (step + 1) % worker.local.every == 0
    if worker.local is not None:
        if not _stepped(worker):
            worker.local.spoil()
        if shared:
            worker.local.average(step)
        backward_s = time.monotonic()
    else:
        backward_s = time.monotonic()
        if not _stepped(worker):
            worker.synchroniser.forget_spoiled()
            raise not_finite(worker.model, batch.x, loss_sum, step)
    if worker.sparsity is not None:
        worker.sparsity.hold(worker.model)
    if worker.average is not None and shared:
        worker.average.update_parameters(worker.model)
        if worker.sparsity is not None:
            worker.sparsity.hold(worker.average.module)
    spans = worker.synchroniser.take_spans()
    end_s = time.monotonic()
    trace = StepTrace(
        step=step,
        start_s=start_s,
        data_wait_s=loaded_s - start_s,
        forward_s=forward_s - loaded_s,
        backward_s=backward_s - forward_s,
        optimizer_s=end_s - backward_s,
        samples=batch.count,
        sent_bytes=worker.synchroniser.sent_bytes() - sent_before,
        buckets=tuple(spans),
        algorithm=worker.synchroniser.algorithm,
    )
    if average:
        share_statistics(worker)
    return trace, loss_sum


def share_statistics(worker: Worker) -> None:
    """Average the running statistics of batch normalisation over the ranks, which call it together."""
    group = worker.parallel.process_group
    statistics.share(worker.model, group)
    if worker.average is not None:
        statistics.share(worker.average.module, group)


def _seed(worker: Worker, step: int) -> None:
    """Dropout's numbers depend on seed, step and rank alone, so a resumed run draws them again."""
    sequence = np.random.SeedSequence((worker.seed, step, worker.rank))
    seed = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    # torch.manual_seed notes the stack for every kind of device that is absent: half a millisecond.
    torch.default_generator.manual_seed(seed)
    if worker.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _summed_loss(worker: Worker, batch: TaskBatch) -> Tensor:
    with worker.arithmetic.computing(worker.device):
        outputs = worker.forward(batch.x)
    return worker.task.loss(outputs, batch.y, worker.optim.label_smoothing)


def _gradients(worker: Worker, batch: TaskBatch) -> tuple[float, float]:
    """Compute the gradients of a batch: the sum of its losses, and when the last forward pass ended."""
    # Alone, a worker's mean is over its own samples; DDP takes the mean over the ranks too.
    count = batch.global_count / worker.world_size if worker.local is None else batch.count
    loss_sum = 0.0
    *earlier, last = batch.parts(worker.optim.accumulate)
    with worker.parallel.no_sync():
        for part in earlier:
            loss = _summed_loss(worker, part)
            loss_sum += loss.item()
            _backward(worker, loss, count)
    with worker.parallel.no_sync() if worker.local is not None else nullcontext():
        loss = _summed_loss(worker, last)
        loss_sum += loss.item()  # by then a GPU has it, too
        forward_s = time.monotonic()
        _backward(worker, loss, count)
    return loss_sum, forward_s


def _backward(worker: Worker, loss: Tensor, count: float) -> None:
    """Add the gradients of a sum of losses over `count`.

    One that is no number makes gradients that are none, so that every rank learns of it.
    """
    scale = 1 / count if count else 0.0
    if not math.isfinite(loss.item()):
        scale = math.nan
    (loss * scale).backward()  # type: ignore[no-untyped-call]


def _stepped(worker: Worker) -> bool:
    """Clip the gradients and step along them; False where they are not finite."""
    parameters = [p for p in worker.model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not math.isfinite(norm):
        return False
    if worker.optim.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, worker.optim.clip_norm, norm)
    worker.optimizer.step()
    return True


@torch.no_grad()
def evaluate(worker: Worker) -> Evaluation:
    """Every rank tries its share of the test set; all get the result over all of it."""
    totals = torch.zeros(3, dtype=torch.float64)
    model = worker.average.module if worker.average is not None else worker.model
    model.eval()
    for held_out in worker.loader.test_batches():
        batch = held_out.to(worker.device)
        with worker.arithmetic.computing(worker.device):
            outputs = model(batch.x).float()
        right, loss = worker.task.right(outputs, batch.y), worker.task.loss(outputs, batch.y)
        totals += torch.tensor([right.item(), loss.item(), batch.count], dtype=totals.dtype)
    model.train()
    with waiting():
        dist.all_reduce(totals)
    right_count, loss_sum, count = totals.tolist()
    return Evaluation(right_count / count, loss_sum / count)
