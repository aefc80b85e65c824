"""Everything that firetree takes from PyTorch beyond its public API.

Each function tells what it does in public terms, so that it can be written anew where a release of
PyTorch changes what it is made of. Nothing else in firetree uses what PyTorch calls private.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import Variable
from torch.distributed import GradBucket, ProcessGroup, Store
from torch.distributed import distributed_c10d as c10d

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel

Function = TypeVar("Function", bound=Callable[..., object])


def group_store(group: ProcessGroup | None = None) -> Store:
    """The store through which a group's ranks met; the default group's without one."""
    return c10d._get_process_group_store(group or c10d._get_default_group())


def group_timeout_s(group: ProcessGroup, device: torch.device) -> float:
    """How long a group's collectives on a device wait for another rank, in seconds."""
    backend = group._get_backend(torch.device(device.type))
    return float(backend.options._timeout.total_seconds())


def named_group(
    name: str, backend: str, timeout_s: float, same_ranks: ProcessGroup
) -> ProcessGroup:
    """`dist.new_group` of another group's ranks, which alone call this, under a name of our choice.

    `new_group` takes the name from how many groups a process has seen: ranks that are in different
    groups, or come in different orders, would mean different ones by the same name.
    """
    ranks = dist.get_process_group_ranks(same_ranks)
    group: ProcessGroup
    group, _ = c10d._new_process_group_helper(
        len(ranks),
        same_ranks.rank(),
        ranks,
        dist.Backend(backend),
        group_store(same_ranks),
        name,  # type: ignore[arg-type]
        timeout=timedelta(seconds=timeout_s),
    )
    c10d._world.pg_group_ranks[group] = {rank: index for index, rank in enumerate(ranks)}
    return group


def comm_hook_of(model: DistributedDataParallel) -> str | None:
    """The name of the communication hook that a model has; None without one."""
    logged: dict[str, Any] = model._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    return logged.get("comm_hook") or None


def register_own_hook(model: DistributedDataParallel, hook: Callable[..., object]) -> None:
    """`model.register_comm_hook`, but that a copy of the model, also one from a file, has no hook."""
    model.register_comm_hook(None, hook)
    model._comm_hooks.clear()  # what copies take along; the reducer has the hook


def check_comm_hook(model: DistributedDataParallel, hook: Callable[..., object]) -> None:
    """Raise what `model.register_comm_hook` raises for a hook that DDP does not take."""
    model._check_comm_hook(hook)  # type: ignore[no-untyped-call]


def own_parameters(model: DistributedDataParallel) -> list[Tensor]:
    """The parameters whose gradients DDP sums: it may be told to ignore some."""
    return list(model._module_parameters)


def grad_buckets(model: DistributedDataParallel) -> list[GradBucket]:
    """DDP's buckets as they are cut now, with zeros in place of gradients."""
    return list(model.reducer._get_zeros_like_grad_buckets())


def steps_in_backward(model: DistributedDataParallel) -> bool:
    """Whether an optimiser takes its step for a parameter as soon as its gradient is there."""
    return any(hasattr(p, "_in_backward_optimizers") for p in model._module_parameters)


def sums_without_hooks(model: DistributedDataParallel) -> bool:
    """Whether code that `torch.compile` writes sums the gradients, where a hook on buckets is not called."""
    return model._use_python_reducer


def averages_who_is_left(model: DistributedDataParallel) -> bool:
    """Whether the model is in a `Join` whose means are over those ranks that still have samples."""
    return model._join_config.enable and not model._divide_by_initial_world_size


def skip_unused_parameters(model: DistributedDataParallel) -> None:
    """Let this backward pass end without asking all ranks which parameters they used."""
    model.reducer._reset_state()


def in_backward() -> bool:
    """Whether this thread is in a backward pass; not so where `Join` calls a hook for a rank that is done."""
    return torch._C._current_graph_task_id() != -1


def backward_number() -> int:
    """The number of the backward pass that runs now in this thread."""
    return int(torch._C._current_graph_task_id())


def loader_steps() -> tuple[tuple[type, str], ...]:
    """The methods by which a `DataLoader` is begun and gives its next batch, by class and name."""
    from torch.utils.data import DataLoader, dataloader

    return (DataLoader, "__iter__"), (dataloader._BaseDataLoaderIter, "__next__")


def after_backward(callback: Callable[[], None]) -> None:
    """Call it when the backward pass that runs now ends; what it raises, `backward()` raises."""
    Variable._execution_engine.queue_callback(callback)


def never_compiled(function: Function) -> Function:
    """`torch.compiler.disable`, which takes a second to import what compiles."""
    return cast(Function, _disable_dynamo(function))


def shapes_alone() -> AbstractContextManager[object]:
    """Compute shapes and no numbers within, for any module, whatever device its parameters are on."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def sparse_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """`indices()` and `values()` of a sparse tensor that may hold an index several times."""
    return tensor._indices(), tensor._values()


relu_backward = partial(torch.ops.aten.threshold_backward.grad_input, threshold=0)
"""The gradient of a ReLU's input: (gradient of its output, its output, grad_input=where it goes)."""

tanh_backward = torch.ops.aten.tanh_backward.grad_input
"""As `relu_backward`, of tanh."""

layer_norm_backward = torch.ops.aten.native_layer_norm_backward
"""Gradients of `torch.nn.functional.layer_norm`'s input, gain and bias, those that its last argument asks for."""
