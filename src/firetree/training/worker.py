"""One rank's share of the training: its network, optimiser, data and the parts of its steps.

What it does with them in a step is in `step`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from firetree.data import epoch_steps
from firetree.errors import UserError
from firetree.launch import RankInfo, find_device
from firetree.models.batch_norm import normalises_batches
from firetree.models.families import OwnModel
from firetree.models.inputs import Inputs, mapped, rows_of
from firetree.peers import hand_over, together
from firetree.planning.changes import compressions_that_cost_at_most
from firetree.planning.compressions import parse_compression
from firetree.planning.plan import Plan
from firetree.sync import Synchroniser, attach, gradient_bytes
from firetree.tasks import (
    ImageClassification,
    ImageData,
    Loss,
    Measure,
    Outcomes,
    Task,
    TaskLoader,
    build_loss,
    build_measure,
    kind_of,
)
from firetree.tasks.pretrained import read_pretrained
from firetree.training import checkpoint
from firetree.training.arithmetic import Arithmetic, Forward, choose_arithmetic, compile_forward
from firetree.training.average import MovingAverage, moving_average
from firetree.training.balancer import Balancer
from firetree.training.batch_statistics import RunningStatistics
from firetree.training.checkpoint import Checkpoint
from firetree.training.local_steps import LocalSteps
from firetree.training.optimizers import build_optimizer
from firetree.training.own_network import TRIED, Tried, build_network, try_out
from firetree.training.planning import AUTO, Planner, PlanOrAuto
from firetree.training.recipe import Recipe
from firetree.training.sparsity import Sparsity
from firetree.training.step_part import GradientMean, StepPart
from firetree.wires.secret import VARIABLE


@dataclass(frozen=True, slots=True)
class Worker:
    """What a rank trains with.

    `parallel` is DDP around `model`, and `forward` is `parallel`, perhaps compiled; all hold the same
    weights. `average` is their moving average, where the recipe wants one. `loss` is the recipe's or the
    task's, and `measure` what else is measured on the test set. `balancer` cuts batches by speed, where
    it does. `remarks` tell the user what was chosen.
    """

    rank: int
    world_size: int
    device: torch.device
    recipe: Recipe
    arithmetic: Arithmetic
    model: nn.Module
    average: AveragedModel | None
    parallel: DistributedDataParallel
    forward: Forward
    optimizer: torch.optim.Optimizer
    synchroniser: Synchroniser
    parts: tuple[StepPart, ...]
    loader: TaskLoader
    task: Task
    loss: Loss
    measure: Measure | None
    planner: Planner | None
    balancer: Balancer | None
    remarks: tuple[str, ...]

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the moving average's, where there is one."""
        return self.model if self.average is None else self.average.module

    def outcomes(self) -> Outcomes | None:
        """Gathers what becomes of each test sample, where these are images with classes."""
        return self.task.outcomes() if isinstance(self.task, ImageClassification) else None

    def share(self) -> None:
        """Make what is evaluated the same on all ranks, which call it together."""
        for part in self.parts:
            part.share()

    def forget_step(self) -> None:
        """Keep nothing of a step that raised `NotFiniteError`; all ranks call it."""
        for part in self.parts:
            part.forget_step()

    def own(self) -> dict[str, Tensor]:
        """This rank's own tensors, which the other ranks' differ from; none where it is alone."""
        if self.world_size == 1:
            return {}
        return {name: it for part in self.parts for name, it in part.own().items()}

    def state(self) -> dict[str, Tensor]:
        """What the parts keep from step to step; all ranks call it together.

        They go on with the mean of their own tensors.
        """
        return {name: it for part in self.parts for name, it in part.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave; the model has its weights already."""
        for part in self.parts:
            part.restore(state)


def resume_worker(worker: Worker, newest: Checkpoint, say: Callable[[str], None]) -> None:
    """Go on from a checkpoint, which all ranks have; rank 0 hands each rank its own tensors.

    Tensors of a part that the run no longer has are left out.

    Raises:
        UserError: the checkpoint is another network's.
    """
    checkpoint.restore(newest, worker.model, worker.optimizer, worker.average)
    worker.restore(newest.sync)
    if worker.balancer:
        say(worker.balancer.sharing)
    ranks, files = newest.state.ranks, iter(newest.parts)
    if ranks != worker.world_size:
        if ranks:
            say(f"all ranks continue with the mean of {ranks} ranks' own state")
        return
    for rank in range(ranks):
        file = together(lambda: next(files, b""))
        if worker.rank in (0, rank):
            file = hand_over(file, 0, rank)
        if worker.rank == rank:
            kept = load(file)
            for name, tensor in worker.own().items():
                if name in kept:
                    tensor.copy_(kept[name])


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
        UserError: the network cannot have the recipe's fields, the plan is not for it or not made by the
            run where `sync.max_loss` wants that, or a host lacks GPUs.
    """
    device = find_device(recipe.device, rank_info)
    torch.manual_seed(recipe.seed)
    model = build_network(recipe.model, task).to(device)
    optim = recipe.optim
    share = -(-optim.batch_size // rank_info.world_size)
    several = mapped(lambda it: it.to(device), task.example(max(share, TRIED)))
    example, piece, few = (
        rows_of(several, slice(count)) for count in (share, -(-share // optim.accumulate), TRIED)
    )
    own = isinstance(recipe.model, OwnModel)
    tried = try_out(recipe.model.name, model, few) if own else Tried()
    arithmetic, choice = choose_arithmetic(
        recipe.precision, model, piece, earlier, tried.channels_last
    )
    model = arithmetic.lay_out(model)
    planner, chosen = _choose_sums(recipe, model, example, plan)
    if planner and planner.outlook.compression != "none":
        sync = replace(recipe.sync, compression=planner.outlook.compression)
        recipe = replace(recipe, sync=sync)
    parallel, synchroniser = _wrap(recipe, model, chosen, device, bool(tried.unused))
    forward, reason = (
        compile_forward(parallel, piece, arithmetic) if recipe.compile else (parallel, None)
    )
    optimizer = build_optimizer(optim, model)
    average = None if optim.ema is None else moving_average(model, optim.ema)
    parts = _build_parts(recipe, task, parallel, optimizer, synchroniser, average)
    loader = task.loader(
        batch_size=optim.batch_size,
        seed=recipe.seed,
        rank=rank_info.rank,
        world_size=rank_info.world_size,
        channels_last=arithmetic.channels_last,
    )
    balancer, stays_equal = _build_balancer(recipe, task, model, loader, rank_info)
    remarks = _name_gpu(device), tried.remark, choice, reason, stays_equal
    return Worker(
        rank=rank_info.rank,
        world_size=rank_info.world_size,
        device=device,
        recipe=recipe,
        arithmetic=arithmetic,
        model=model,
        average=average,
        parallel=parallel,
        forward=forward,
        optimizer=optimizer,
        synchroniser=synchroniser,
        parts=(*parts, balancer) if balancer else parts,
        loader=loader,
        task=task,
        loss=_loss(recipe, task),
        measure=build_measure(recipe.metric),
        planner=planner,
        balancer=balancer,
        remarks=(*task.account.lines(), *filter(None, remarks)),
    )


def _loss(recipe: Recipe, task: Task) -> Loss:
    if recipe.loss.name is not None:
        return build_loss(recipe.loss.name, recipe.loss.arguments)
    return task.loss


def _wrap(
    recipe: Recipe, model: nn.Module, chosen: str | Plan, device: torch.device, some_unused: bool
) -> tuple[DistributedDataParallel, Synchroniser]:
    """The model in DDP, whose buckets a synchroniser sums."""
    bucket_bytes = chosen.bucket_bytes if isinstance(chosen, Plan) else recipe.sync.bucket_bytes
    parallel = DistributedDataParallel(
        model,
        # NCCL between GPUs, else the default group.
        process_group=None if device.type == "cpu" else dist.new_group(backend="nccl"),
        bucket_cap_mb=bucket_bytes / 2**20,
        gradient_as_bucket_view=True,
        find_unused_parameters=some_unused,
    )
    parallel.broadcast_buffers = False  # every step; ranks share them when someone looks
    sync = recipe.sync
    return parallel, attach(
        parallel, chosen, compression=sync.compression, timeout_s=sync.timeout_s
    )


def _build_parts(
    recipe: Recipe,
    task: Task,
    parallel: DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    synchroniser: Synchroniser,
    average: AveragedModel | None,
) -> tuple[StepPart, ...]:
    """The parts in the order in which a step calls them: ranks meet first, then what follows from it."""
    model, sync = parallel.module, recipe.sync
    models = {"": model}
    parts: list[StepPart] = [
        LocalSteps(parallel, optimizer, synchroniser, sync)
        if sync.has_local_steps
        else GradientMean(model, synchroniser)
    ]
    if average is not None:
        models["/averaged"] = average.module
        parts.append(MovingAverage(model, average, sync.local_steps))
    if recipe.sparse.density is not None:
        steps_an_epoch = epoch_steps(task.examples, recipe.optim.batch_size)
        parts.append(Sparsity(models.values(), recipe.sparse, steps_an_epoch))
    return *parts, RunningStatistics(models, parallel.process_group)


def _build_balancer(
    recipe: Recipe, task: Task, model: nn.Module, loader: TaskLoader, rank_info: RankInfo
) -> tuple[Balancer | None, str | None]:
    """What cuts batches by speed, where the recipe wants that; or a line on why it cannot be."""
    world_size, batch_size = rank_info.world_size, recipe.optim.batch_size
    if recipe.sync.shares == "equal" or world_size == 1:
        return None, None
    if normalises_batches(model):
        why = "batch normalisation is over each worker's own samples"
    elif task.examples < world_size:
        why = f"an epoch has {task.examples} samples for {world_size} workers"
    else:
        return Balancer(loader, task.examples, batch_size, rank_info.rank), None
    return None, f"shares of the batch stay equal: {why}"


def _name_gpu(device: torch.device) -> str | None:
    """A line about a GPU."""
    if device.type == "cpu":
        return None
    return f"each worker computes on a GPU, rank 0 on {torch.cuda.get_device_name(device)}"


def _choose_sums(
    recipe: Recipe, model: nn.Module, example: Inputs, plan: PlanOrAuto
) -> tuple[Planner | None, str | Plan]:
    """What sums the gradients, and for `auto` the planner that may change it."""
    world_size = dist.get_world_size()
    if plan != AUTO and recipe.sync.max_loss is not None:
        raise UserError("sync.max_loss is for a run that plans itself; expected plan auto with it")
    if plan is None or (plan == AUTO and world_size == 1):
        return None, recipe.sync.algorithm
    if isinstance(plan, Plan):
        plan.check(world_size, gradient_bytes(model))
        return None, plan
    compressed = recipe.sync.compression != "none"
    planner = Planner(model, example, compressed, _compressions_for(recipe, model))
    return planner, planner.plan


def _compressions_for(recipe: Recipe, model: nn.Module) -> list[str]:
    """Those that a run may choose from; none where the recipe wants all bytes."""
    if recipe.sync.max_loss is None:
        return []
    texts = compressions_that_cost_at_most(recipe.sync.max_loss)
    if os.environ.get(VARIABLE) or any(p.is_complex() for p in model.parameters()):
        return [text for text in texts if not parse_compression(text).by_layer]
    return texts


def load_task(recipe: Recipe) -> Task:
    """What the recipe trains on (UserError where its data, or weights to start from, cannot be used)."""
    data, start = recipe.data, read_pretrained(recipe.model)
    if start and isinstance(data, ImageData):
        channels = data.channels or len(start.mean)
        data = replace(data, size=data.size or start.size, channels=channels)
    task = kind_of(data.name).load(data, recipe.seed)
    if isinstance(task, ImageClassification):
        task = task.starting_from(start) if start else task
        task = task.balanced() if recipe.optim.class_weights == "balanced" else task
    return task
