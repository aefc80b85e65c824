"""Marks on models, optimisers, loaders and files that tell a recorder what begins and what ends.

They change nothing that is computed: hooks of torch's, and functions of torch's that are called through
ours. A copy of a model, or a model from a file, has marks that do nothing.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from firetree.models.layer_names import layer_of
from firetree.observing.phases import Activity
from firetree.observing.recorder import Recorder
from firetree.torch_private import after_backward, backward_number, loader_steps, never_compiled
from firetree.trace import LayerSpan

_MOST_LAYER_TIMES = 16
_MOST_OUTPUTS = 8


class _Mark:
    """A function that models hold, and that their copies leave behind.

    A copy has a function of Python's own in its place, which does nothing: so a saved model can be read
    where firetree is not installed.
    """

    def __init__(self, function: Callable[..., None]):
        self._function = function

    @never_compiled
    def __call__(self, *arguments: object, **named: object) -> None:
        self._function(*arguments, **named)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return partial, (sys.audit, "a mark of another model")


class ModelMarks:
    """Marks on one model, in DDP or sharded: its passes, and its layers' gradients.

    They do not refer to the model: its parameters hold them where no garbage collector looks.
    """

    def __init__(self, recorder: Recorder, model: nn.Module):
        self._recorder = recorder
        module = model
        self._times_layers = isinstance(model, DistributedDataParallel)
        if isinstance(model, DistributedDataParallel):
            module = model.module  # a script may evaluate it alone
            model.register_forward_pre_hook(_Mark(self._come), with_kwargs=True)
        self._depth = 0
        self._came_s: float | None = None
        self._backward = -1
        self._reached: list[tuple[str, float]] = []
        self._layer_hooks: list[RemovableHandle] = []
        module.register_forward_pre_hook(_Mark(self._begin), with_kwargs=True)
        module.register_forward_hook(_Mark(self._end), always_call=True)

    def _come(
        self, model: DistributedDataParallel, arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        """DDP's forward pass begins; it may hand rank 0's buffers to all ranks first."""
        syncs = model.will_sync_module_buffers()  # type: ignore[no-untyped-call]
        if torch.is_grad_enabled() and syncs:
            self._recorder.enter("communication")
            self._came_s = time.monotonic()

    def _begin(
        self, module: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        self._depth += 1
        if self._depth > 1:  # the model calls itself
            return
        if self._came_s is not None:
            self._recorder.waited(self._came_s, time.monotonic())
            self._came_s = None
        activity: Activity = "evaluation"
        if torch.is_grad_enabled():
            self._hook_layers(module)
            activity = "forward" if module.training else "trial"
        self._recorder.begin_forward(_samples((*arguments, *named.values())), activity)

    def _end(self, module: nn.Module, arguments: tuple[Any, ...], output: object) -> None:
        if not self._depth:  # marked in the middle of its pass
            return
        self._depth -= 1
        if self._depth:
            return
        self._recorder.rest()
        trained = [it for it in _tensors(output) if it.requires_grad and it.grad_fn is not None]
        for tensor in trained[:_MOST_OUTPUTS]:
            tensor.register_hook(_Mark(self._begin_backward))  # type: ignore[no-untyped-call]

    def _begin_backward(self, gradient: Tensor) -> None:
        number = backward_number()
        if number != self._backward and self._recorder.begin_backward():
            # Callbacks run in the order in which they were queued: DDP's own end of the pass, which waits
            # for sums, is queued during the pass; the inner one here comes after it.
            after_backward(lambda: after_backward(self._end_backward))
        self._backward = number

    def _end_backward(self) -> None:
        reached, self._reached = self._reached, []
        if reached:
            self._recorder.add_layer_times(self._layer_times(reached))
        self._recorder.end_backward()

    def _hook_layers(self, module: nn.Module) -> None:
        """Time layers in detailed steps alone: a hook on each parameter would slow the others too."""
        times = self._times_layers and self._recorder.detailed
        if times == bool(self._layer_hooks):
            return
        for hook in self._layer_hooks:
            hook.remove()
        self._layer_hooks.clear()
        for name, parameter in module.named_parameters() if times else ():
            if parameter.requires_grad and parameter.is_leaf:
                reach = _Mark(partial(self._reach, layer_of(name)))
                self._layer_hooks.append(parameter.register_post_accumulate_grad_hook(reach))  # type: ignore[no-untyped-call]

    def _reach(self, layer: str, parameter: Tensor) -> None:
        """The gradient of one of the layer's parameters is there."""
        self._reached.append((layer, time.monotonic()))

    def _layer_times(self, reached: list[tuple[str, float]]) -> list[LayerSpan]:
        """The longest, each from the gradient before its own to its last."""
        took_s, before_s = defaultdict[str, float](float), self._recorder.since_s
        for layer, at_s in reached:
            took_s[layer] += max(0.0, at_s - before_s)
            before_s = at_s
        longest = sorted(took_s.items(), key=lambda item: -item[1])[:_MOST_LAYER_TIMES]
        return [LayerSpan(*it) for it in longest]


def mark_process(recorder: Recorder) -> None:
    """Mark the optimisers, loaders, collectives and saved files of this process; call it once."""
    optimizers = _OptimizerMarks(recorder)
    register_optimizer_step_pre_hook(optimizers.begin)
    register_optimizer_step_post_hook(optimizers.end)
    within = partial(_within, recorder, threading.get_ident())
    for kind, name in loader_steps():
        setattr(kind, name, within("data", getattr(kind, name)))
    for name in ("wait", "synchronize"):  # of collectives that the script calls, or FSDP
        setattr(dist.Work, name, within("communication", getattr(dist.Work, name)))
    for module, name in _saving():
        setattr(module, name, within("saving", getattr(module, name)))


def _saving() -> Iterator[tuple[ModuleType, str]]:
    import safetensors.torch
    import torch.distributed.checkpoint

    yield torch, "save"
    yield torch.distributed.checkpoint, "save"
    yield safetensors.torch, "save_file"
    yield safetensors.torch, "save_model"


def _within(
    recorder: Recorder, thread: int, activity: Activity, function: Callable[..., Any]
) -> Callable[..., Any]:
    """The function, of which the main thread's calls are an activity."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        if threading.get_ident() != thread:
            return function(*arguments, **named)
        before = recorder.enter(activity)
        try:
            return function(*arguments, **named)
        finally:
            recorder.enter(before)

    return called


class _OptimizerMarks:
    """Marks on the steps of all optimisers; one may call another (ZeRO, Accelerate's)."""

    def __init__(self, recorder: Recorder):
        self._recorder = recorder
        self._stepping: list[int] = []

    def begin(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not self._stepping:
            self._recorder.begin_optimizer()
        self._stepping.append(id(optimizer))

    def end(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if id(optimizer) in self._stepping:  # also what an exception has left behind
            del self._stepping[self._stepping.index(id(optimizer)) :]
        if not self._stepping:
            self._recorder.end_optimizer(id(optimizer))


def _samples(inputs: Iterable[object]) -> int:
    """The length of the first tensor that has one."""
    return next((len(tensor) for it in inputs for tensor in _tensors(it) if tensor.dim()), 0)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))
