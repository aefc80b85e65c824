"""Precision and memory format of a network: the recipe's, or the fastest by a short measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.models import Outputs, total
from firetree.models.timing import measure
from firetree.peers import broadcast_json
from firetree.progress import without_warnings

AUTO_PRECISION = "auto"

Forward = Callable[[Tensor], Tensor | Outputs]
"""From a batch to a network's outputs in training."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Weights are always float32; convolutions and matrix products compute in `precision`.

    With `channels_last` the channels of a pixel are adjacent in memory (NHWC), else the pixels of a
    channel (NCHW).
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """PyTorch's name for it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def lay_out_batch(self, x: Tensor) -> Tensor:
        """Images x_BCHW in this memory format; anything else as it is."""
        return x.contiguous(memory_format=self.memory_format) if x.ndim == 4 else x

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context for forward passes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def lay_out(self, model: nn.Module) -> nn.Module:
        """The model with its weights in this memory format."""
        return model.to(memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


_CANDIDATES = [
    Arithmetic(precision, channels_last)
    for precision in ("float32", "bfloat16")
    for channels_last in (True, False)
]


def choose_arithmetic(
    precision: str, model: nn.Module, example: Tensor, earlier: Arithmetic | None
) -> tuple[Arithmetic, str | None]:
    """The arithmetic of a run, and a line about the choice where there was one.

    All ranks call it together. They measure at the same time, as in training; rank 0 decides.

    Args:
        precision: a recipe's; `auto` for the fastest.
        example: as many samples as a rank computes at once.
        earlier: on rank 0, the arithmetic of the run that is resumed.
    """
    if precision != AUTO_PRECISION:
        return Arithmetic("bfloat16" if precision == "bfloat16" else "float32"), None
    chosen = _from_rank_0(earlier)
    if chosen is not None:
        return chosen, f"computing in {chosen}, as before"
    times_s = {one: _step_s(model, example, one) for one in _CANDIDATES}
    fastest, *others = sorted(_CANDIDATES, key=times_s.__getitem__)
    chosen = _from_rank_0(fastest)
    assert chosen is not None
    slower = ", ".join(f"{other} {times_s[other] * 1e3:.3g} ms" for other in others)
    return chosen, f"computing in {fastest}: {times_s[fastest] * 1e3:.3g} ms a step ({slower})"


def _from_rank_0(value: Arithmetic | None) -> Arithmetic | None:
    document = broadcast_json(asdict(value) if value else None)
    return Arithmetic(**document) if document else None


def _step_s(model: nn.Module, example: Tensor, arithmetic: Arithmetic) -> float:
    x = arithmetic.lay_out_batch(example)
    with arithmetic.autocast(x.device):
        return measure(arithmetic.lay_out(model), x).compute_s


def compile_forward(
    parallel: DistributedDataParallel, example: Tensor, arithmetic: Arithmetic
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
            with arithmetic.autocast(x.device):
                outputs = forward(x)
            total(outputs).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # compilers, missing ones and PyTorch raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return parallel, f"compile is left out, as it fails on this machine: {reason}"
    finally:
        parallel.zero_grad()
    return forward, None
