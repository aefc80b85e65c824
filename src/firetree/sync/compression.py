"""Fewer bytes for the same gradients: each way turns a buffer into something smaller that can be summed.

What is lost in a step is kept back and added to the next one's gradients (error feedback: Seide et al.
2014; Karimireddy et al. 2019), except for 16-bit numbers, which lose little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.errors import UserError, nearest
from firetree.planning.compressed_sizes import INT8_BLOCK

NONE = "none"
NAMES = (NONE, "fp16", "bf16", "int8", "topk", "powersgd")

_TOP_SHARE, _RANK = 0.01, 4.0

Sum = Callable[[Tensor], None]
"""Sums a buffer over all ranks, in place."""


class Compression(Protocol):
    """Sums buffers over the ranks of a group; `errors` are what each bucket has kept back, by index."""

    errors: dict[int, Tensor]

    def sum(self, index: int, buffer: Tensor, exact: Sum) -> None:
        """Replace a bucket (float32, one axis) by its sum over all ranks, alike on each."""


class Exact:
    """Every bit is sent."""

    def __init__(self) -> None:
        self.errors: dict[int, Tensor] = {}

    def sum(self, index: int, buffer: Tensor, exact: Sum) -> None:
        """Sum the buffer as it is."""
        exact(buffer)


class Half:
    """Numbers of 16 bits, in which they are added too."""

    def __init__(self, dtype: torch.dtype):
        self.errors: dict[int, Tensor] = {}
        self._dtype = dtype

    def sum(self, index: int, buffer: Tensor, exact: Sum) -> None:
        """Sum the buffer rounded to 16 bits."""
        rounded = buffer.to(self._dtype)
        exact(rounded)
        buffer.copy_(rounded)


class Int8:
    """Whole numbers of 8 bits that add up without overflow along any schedule.

    A block's scale is the same on all ranks: the largest number in it anywhere becomes ⌊127/p⌋ on p
    ranks, so that their sum fits. More ranks leave fewer steps for each; what is rounded off is kept.
    """

    def __init__(self, group: dist.ProcessGroup):
        self.errors: dict[int, Tensor] = {}
        self._group = group
        self._levels = 127 // group.size()
        if not self._levels:
            raise UserError(f"int8 on {group.size()} ranks; expected 127 at most")

    def sum(self, index: int, buffer: Tensor, exact: Sum) -> None:
        """Sum the buffer in steps of each block's scale."""
        blocks = -(-buffer.numel() // INT8_BLOCK)
        wanted = buffer.new_zeros(blocks, INT8_BLOCK)
        flat = wanted.view(-1)[: buffer.numel()]
        flat.copy_(buffer)
        if index in self.errors:
            flat.add_(self.errors[index])
        # A number that is none spoils its block on all ranks: its scale is infinite, and 0 · ∞ is none.
        scales = wanted.abs().amax(1, keepdim=True).nan_to_num_(nan=math.inf, posinf=math.inf)
        dist.all_reduce(scales, dist.ReduceOp.MAX, group=self._group)
        steps = scales / self._levels
        numbers = (wanted / steps.where(steps != 0, 1.0)).round_()
        sent = numbers.nan_to_num().to(torch.int8)
        self.errors[index] = (wanted - sent * steps).view(-1)[: buffer.numel()]
        exact(sent.view(-1))
        buffer.copy_((sent * steps).view(-1)[: buffer.numel()])


class TopK:
    """The largest share of the numbers, with their places; gathered, whatever the algorithm."""

    def __init__(self, share: float, group: dist.ProcessGroup):
        self.errors: dict[int, Tensor] = {}
        self._share, self._group = share, group

    def sum(self, index: int, buffer: Tensor, exact: Sum) -> None:
        """Sum what each rank has of the largest numbers."""
        wanted = buffer + self.errors[index] if index in self.errors else buffer.clone()
        count = math.ceil(self._share * wanted.numel())
        places = wanted.abs().topk(count, sorted=False).indices
        values = wanted[places]
        everyones_places = [torch.empty_like(places, dtype=torch.int32) for _ in self._ranks]
        everyones_values = [torch.empty_like(values) for _ in self._ranks]
        dist.all_gather(everyones_places, places.to(torch.int32), group=self._group)
        dist.all_gather(everyones_values, values, group=self._group)
        wanted[places] = 0.0
        self.errors[index] = wanted
        buffer.zero_()
        for its_places, its_values in zip(everyones_places, everyones_values, strict=True):
            buffer.index_add_(0, its_places, its_values)

    @property
    def _ranks(self) -> range:
        return range(self._group.size())


def check_compression(text: object) -> tuple[str, float]:
    """The name and number in `none`, `fp16`, `bf16`, `int8`, `topk:SHARE` or `powersgd:RANK`.

    Raises:
        UserError: no such way, or a number that it cannot have.
    """
    if not isinstance(text, str):
        raise UserError(f"compression is {text!r}; expected a name such as 'int8'")
    name, _, number = text.partition(":")
    if name not in NAMES:
        raise UserError(f"no compression '{name}'{nearest(name, NAMES)}")
    if name not in ("topk", "powersgd"):
        if number:
            raise UserError(f"compression '{text}'; expected {name} without a number")
        return name, 0.0
    try:
        value = float(number) if number else {"topk": _TOP_SHARE, "powersgd": _RANK}[name]
    except ValueError:
        value = math.nan
    if name == "topk" and not 0 < value <= 1:
        raise UserError(
            f"compression '{text}'; expected a share above 0 and at most 1, as topk:0.01"
        )
    if name == "powersgd" and not (value >= 1 and value.is_integer()):
        raise UserError(f"compression '{text}'; expected a rank of 1 or more, as powersgd:4")
    return name, value


def build_compression(text: str, group: dist.ProcessGroup) -> Compression:
    """The way that `text` names; `powersgd` is a hook of DDP's own and none of these."""
    name, number = check_compression(text)
    match name:
        case "fp16":
            return Half(torch.float16)
        case "bf16":
            return Half(torch.bfloat16)
        case "int8":
            return Int8(group)
        case "topk":
            return TopK(number, group)
        case _:
            return Exact()
