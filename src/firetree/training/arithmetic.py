"""Precision and memory format of a network: the recipe's, or the fastest by a short measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.models import total
from firetree.models.inputs import Inputs, call, mapped
from firetree.models.outputs import tensors
from firetree.models.timing import measure
from firetree.peers import broadcast_json
from firetree.progress import without_warnings

AUTO_PRECISION = "auto"

Precision = Literal["float32", "bfloat16"]

Forward = Callable[..., Any]
"""From a batch to a network's outputs in training."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Weights are always float32; convolutions and matrix products compute in `precision`.

    With `channels_last` the channels of a pixel are adjacent in memory (NHWC), else the pixels of a
    channel (NCHW).
    """

    precision: Precision = "float32"
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """PyTorch's name for it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def lay_out_batch(self, x: Inputs) -> Inputs:
        """Images x_BCHW in this memory format; anything else as it is."""

        def lay_out(tensor: Tensor) -> Tensor:
            is_image = tensor.dim() == 4
            return tensor.contiguous(memory_format=self.memory_format) if is_image else tensor

        found: Inputs = mapped(lay_out, x)
        return found

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context for forward passes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def lay_out(self, model: nn.Module) -> nn.Module:
        """The model with its weights in this memory format."""
        return model.to(memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_CANDIDATES = [
    Arithmetic(precision, channels_last)
    for precision in _PRECISIONS
    for channels_last in (True, False)
]


def choose_arithmetic(
    precision: str,
    model: nn.Module,
    example: Inputs,
    earlier: Arithmetic | None,
    channels_last: bool = True,
) -> tuple[Arithmetic, str | None]:
    """The arithmetic of a run, and a line about the choice where there was one.

    All ranks call it together. They measure at the same time, as in training; rank 0 decides.

    Args:
        precision: a recipe's; `auto` for the fastest.
        example: as many samples as a rank computes at once.
        earlier: on rank 0, the arithmetic of the run that is resumed.
        channels_last: whether the model takes channels that are adjacent in memory.
    """
    if precision != AUTO_PRECISION:
        kind: Precision = "bfloat16" if precision == "bfloat16" else "float32"
        return Arithmetic(kind, channels_last), None
    chosen = _from_rank_0(earlier)
    if chosen is not None:
        return chosen, f"computing in {chosen}, as before"
    candidates = [one for one in _CANDIDATES if channels_last or not one.channels_last]
    times_s = {one: _step_s(model, example, one) for one in candidates}
    fastest, *others = sorted(candidates, key=times_s.__getitem__)
    chosen = _from_rank_0(fastest)
    assert chosen is not None
    slower = ", ".join(f"{other} {times_s[other] * 1e3:.3g} ms" for other in others)
    return chosen, f"computing in {fastest}: {times_s[fastest] * 1e3:.3g} ms a step ({slower})"


def _from_rank_0(value: Arithmetic | None) -> Arithmetic | None:
    document = broadcast_json(asdict(value) if value else None)
    return Arithmetic(**document) if document else None


def _step_s(model: nn.Module, example: Inputs, arithmetic: Arithmetic) -> float:
    x = arithmetic.lay_out_batch(example)
    with arithmetic.autocast(_device(x)):
        return measure(arithmetic.lay_out(model), x).compute_s


def _device(x: Inputs) -> torch.device:
    return next(tensor.device for tensor in tensors(x))


def compile_forward(
    parallel: DistributedDataParallel, example: Inputs, arithmetic: Arithmetic
) -> tuple[Forward, str | None]:
    """Compile the network with torch.compile; where that fails, return it as it is, and why.

    DDP's hooks still see the gradients of each bucket as soon as they are computed.
    """
    # Static shapes give the fastest code. A rank has two: its share of a batch and of the last batch.
    forward = torch.compile(parallel, dynamic=False)
    x = arithmetic.lay_out_batch(example)
    try:
        # PyTorch warns about its own internals.
        with without_warnings(), parallel.no_sync():
            with arithmetic.autocast(_device(x)):
                outputs = call(forward, x)
            total(outputs).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # compilers, missing ones and PyTorch raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return parallel, f"compile is left out, as it fails on this machine: {reason}"
    finally:
        parallel.zero_grad()
    return forward, None
