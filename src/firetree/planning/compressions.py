"""Compressions of gradients: each one's name, its number, and the bytes it sends. No torch.

The arithmetic is in `sync.compression`. Its time is ignored here: it is small when the network is the
bottleneck.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from firetree.errors import UserError, nearest
from firetree.models.profile import Gradient, Profile

INT8_BLOCK = 1024
"""How many int8 values share one float32 scale."""


class _Number(NamedTuple):
    """The number after the colon, as in `topk:0.01`."""

    default: float
    fits: Callable[[float], bool]
    expected: str


class _Kind(NamedTuple):
    """`sent_bytes(gradient, number, world_size)`, and whether there is error feedback."""

    sent_bytes: Callable[[Gradient, float, int], float]
    keeps_errors: bool = False
    number: _Number | None = None


@dataclass(frozen=True, slots=True)
class Compression:
    """A way to send fewer bytes of each gradient; `parse_compression` reads one from text."""

    name: str = "none"
    number: float = 0.0

    @property
    def keeps_errors(self) -> bool:
        """Error feedback: whether what a step loses is added to the next step's gradients."""
        return _KINDS[self.name].keeps_errors

    def compressed(self, profile: Profile, world_size: int) -> Profile:
        """The same computation, with each gradient's size replaced by its compressed size."""

        def sent(gradient: Gradient) -> Gradient:
            size_bytes = _KINDS[self.name].sent_bytes(gradient, self.number, world_size)
            return replace(gradient, size_bytes=max(4, round(size_bytes)))

        return replace(profile, gradients=tuple(map(sent, profile.gradients)))


UNCOMPRESSED = Compression()


def parse_compression(text: object) -> Compression:
    """Read `none`, `fp16`, `bf16`, `int8`, `topk:SHARE` or `powersgd:RANK`.

    Raises:
        UserError: no such compression, or a number out of its range.
    """
    if not isinstance(text, str):
        raise UserError(f"compression is {text!r}; expected a name such as 'int8'")
    name, _, number = text.partition(":")
    if name not in _KINDS:
        raise UserError(f"no compression '{name}'{nearest(name, _KINDS)}")
    takes = _KINDS[name].number
    if takes is None:
        if number:
            raise UserError(f"compression '{text}'; expected {name} without a number")
        return Compression(name)
    try:
        value = float(number) if number else takes.default
    except ValueError:
        value = math.nan
    if not takes.fits(value):
        raise UserError(f"compression '{text}'; expected {takes.expected}")
    return Compression(name, value)


def _whole(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes


def _half(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes / 2


def _blocks(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes / 4 + gradient.size_bytes / INT8_BLOCK


def _largest(gradient: Gradient, share: float, world_size: int) -> float:
    # The index beside each number doubles the bytes; an all-gather takes half as long as an all-reduce.
    return gradient.size_bytes * share * world_size


def _factors(gradient: Gradient, rank: float, world_size: int) -> float:
    """PyTorch's PowerSGD: two factors of a matrix, or all of it if they exceed half its elements."""
    if len(gradient.shape) < 2:
        return gradient.size_bytes
    rows, columns = gradient.shape[0], math.prod(gradient.shape[1:])
    factors = rank * (rows + columns)
    return 4 * factors if 2 * factors < rows * columns else gradient.size_bytes


_SHARE = _Number(0.01, lambda it: 0 < it <= 1, "a share above 0 and at most 1, as topk:0.01")
_RANK = _Number(4.0, lambda it: it >= 1 and it.is_integer(), "a rank of 1 or more, as powersgd:4")

_KINDS = {
    "none": _Kind(_whole),
    "fp16": _Kind(_half),
    "bf16": _Kind(_half),
    "int8": _Kind(_blocks, keeps_errors=True),
    "topk": _Kind(_largest, keeps_errors=True, number=_SHARE),
    "powersgd": _Kind(_factors, keeps_errors=True, number=_RANK),
}
