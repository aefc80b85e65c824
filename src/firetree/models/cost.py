"""What a network costs, layer by layer: bytes of weights and activations, and arithmetic.

Only shapes go through the network, without numbers, so even VGG-19 is described at once. How long a step
takes is in `firetree.models.timing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from firetree.errors import UserError
from firetree.models.inputs import Inputs, batch_of, call, shapes_of
from firetree.models.outputs import tensors
from firetree.torch_private import shapes_alone

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """A module with parameters of its own, and what it does for one sample."""

    name: str
    kind: str
    """The module's class."""
    weight_bytes: int
    """Its parameters in float32; a shared parameter counts in the first layer that has it."""
    flops: int
    """Of its matrix products and convolutions in the forward pass; a multiply-add counts as two.
    Recurrent layers count 0, since PyTorch runs each as a single operation."""
    activations: int
    """Numbers that it gives."""


@dataclass(frozen=True, slots=True)
class Cost:
    """All layers of a network, in the order of the forward pass."""

    layers: tuple[Layer, ...]

    @property
    def weight_bytes(self) -> int:
        """|W|: what data parallelism sends a worker and a step (FireCaffe on data parallelism)."""
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """|D| for one sample: what model parallelism sends for it (FireCaffe on model parallelism).

        Times the batch, this is the paper's |D|: all that the layers give, in float32.
        """
        return sum(layer.activations for layer in self.layers) * FLOAT_BYTES

    @property
    def flops(self) -> int:
        """Of the forward pass for one sample; the backward pass has about twice as many."""
        return sum(layer.flops for layer in self.layers)


def cost(module: nn.Module, example: Inputs) -> Cost:
    """Send `example`, whose first axis is the batch, through the module and watch each layer.

    The module stays in its mode; in training mode GoogLeNet has its auxiliary classifiers. Numbers are
    computed only where an operation depends on them and not on shapes alone. Layers that the pass does
    not reach come last, with only their weights.

    Raises:
        UserError: the module does not take the example.
    """
    first = next(module.parameters(), None)
    if first is not None and isinstance(example, Tensor):
        example = example.to(first.device)
    with kept_buffers(module):
        try:
            work_of = _watched_forward(module, example, shapes_alone())
        except Exception:
            work_of = _real_forward(module, example)
    return Cost(tuple(_layers(module, work_of, batch=batch_of(example))))


@dataclass(slots=True)
class _Work:
    flops: int = 0
    activations: int = 0


def _real_forward(module: nn.Module, example: Inputs) -> dict[nn.Module, _Work]:
    try:
        return _watched_forward(module, example, torch.no_grad())
    except Exception as error:
        raise UserError(
            f"the network does not take a batch of shape {shapes_of(example)}: "
            f"{' '.join(str(error).split())}"
        ) from error


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Restore buffers afterwards: batch normalisation counts passes, even those without numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)


def _watched_forward(
    module: nn.Module, example: Inputs, how: AbstractContextManager[Any]
) -> dict[nn.Module, _Work]:
    """Each layer's work over the whole batch, in the order in which the pass first reached it."""
    counter = FlopCounterMode(display=False)
    work_of: dict[nn.Module, _Work] = {}
    open_flops: list[int] = []

    def enter(layer: nn.Module, *_: object) -> None:
        work_of.setdefault(layer, _Work())
        open_flops.append(counter.get_total_flops())

    def leave(layer: nn.Module, _: object, output: object) -> None:
        flops = counter.get_total_flops() - open_flops.pop()
        work_of[layer].flops += flops
        work_of[layer].activations += sum(tensor.numel() for tensor in tensors(output))
        # A layer inside another one counts only for itself.
        open_flops[:] = [before + flops for before in open_flops]

    with _hooks(module, enter, leave), how, counter:
        call(module, example)
    return work_of


@contextmanager
def _hooks(module: nn.Module, enter: Any, leave: Any) -> Iterator[None]:
    handles = []
    for layer in module.modules():
        if _own_parameters(layer):
            handles.append(layer.register_forward_pre_hook(enter))
            handles.append(layer.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(module: nn.Module, work_of: dict[nn.Module, _Work], batch: int) -> Iterator[Layer]:
    names = {layer: name for name, layer in module.named_modules()}
    unreached = {
        layer: _Work() for layer in names if layer not in work_of and _own_parameters(layer)
    }
    counted: set[Tensor] = set()
    for layer, work in (work_of | unreached).items():
        own = set(_own_parameters(layer)) - counted
        counted |= own
        yield Layer(
            name=names[layer],
            kind=type(layer).__name__,
            weight_bytes=sum(parameter.numel() for parameter in own) * FLOAT_BYTES,
            flops=work.flops // batch,
            activations=work.activations // batch,
        )


def _own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters(recurse=False))
