"""Compressions of gradients: each one's name, its numbers, and the bytes it sends. No torch.

The arithmetic is in `sync.compression`; what it takes is priced by `step.compressed_step`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from firetree.errors import UserError, nearest
from firetree.models.profile import Gradient, Profile

INT8_BLOCK = 1024
"""How many int8 values share one float32 scale."""

E3M0_BLOCK = 1024
"""How many e3m0 values share one float32 scale."""

SPARSELOCO_CHUNK = 4096
"""Most numbers in a chunk of SparseLoCo."""

DEMO_EDGE = 64
"""Most rows, and most columns, in a chunk of DeMo."""


_LARGE = 1 << 20
"""Numbers of a bucket that is large enough to stand for all."""


class _Number(NamedTuple):
    """A number after a colon, as in `topk:0.01`."""

    default: float
    fits: Callable[[float], bool]
    expected: str

    def read(self, text: str) -> float | None:
        """The number in a text, the default where it is empty, None where it does not fit."""
        try:
            value = float(text) if text else self.default
        except ValueError:
            return None
        return value if self.fits(value) else None


class _Kind(NamedTuple):
    """`sent_bytes(gradient, number, world_size)`, and what else is known of a compression.

    `arithmetic_ns` is CPU time a number, as `benchmarks/compression_time.py` measured it; e3m0's is
    estimated, and that of turns from a few calls.
    """

    sent_bytes: Callable[[Gradient, float, int], float]
    arithmetic_ns: float = 0.0
    keeps_errors: bool = False
    by_layer: bool = False
    gathers: bool = False
    numbers: tuple[_Number, ...] = ()


@dataclass(frozen=True, slots=True)
class Compression:
    """A way to send fewer bytes of each gradient; `parse_compression` reads one from text.

    `decay` is the part of what was kept back that a step adds to the next gradient.
    """

    name: str = "none"
    number: float = 0.0
    decay: float = 1.0

    @property
    def keeps_errors(self) -> bool:
        """Error feedback: whether what a step loses is added to the next step's gradients."""
        return _KINDS[self.name].keeps_errors

    @property
    def sends_more_than_sums(self) -> bool:
        """Whether ranks also gather, or agree on scales, beside the sums of buffers."""
        return self.keeps_errors or _KINDS[self.name].gathers

    @property
    def by_layer(self) -> bool:
        """Whether it looks at each parameter's shape, which local steps do not give it."""
        return _KINDS[self.name].by_layer

    def arithmetic_s(self, profile: Profile) -> float:
        """What compressing all gradients takes on one core of a CPU, about; on GPUs it is little."""
        return 1e-9 * _KINDS[self.name].arithmetic_ns * profile.size_bytes / 4

    def compressed(self, profile: Profile, world_size: int) -> Profile:
        """The same computation, with each gradient's size replaced by its compressed size.

        What is gathered counts as an all-reduce that sends as many bytes.
        """

        def sent(gradient: Gradient) -> Gradient:
            size_bytes = _KINDS[self.name].sent_bytes(gradient, self.number, world_size)
            return replace(gradient, size_bytes=max(4, round(size_bytes)))

        return replace(profile, gradients=tuple(map(sent, profile.gradients)))


UNCOMPRESSED = Compression()


def parse_compression(text: object) -> Compression:
    """Read `none`, `fp16`, `bf16`, `int8`, `e3m0`, `topk:SHARE`, `powersgd:RANK`,
    `sparseloco:SHARE:DECAY`, `turns:TURNS` or `demo:COMPONENTS:DECAY`, each also without its last numbers.

    Raises:
        UserError: no such compression, or a number out of its range.
    """
    if not isinstance(text, str):
        raise UserError(f"compression is {text!r}; expected a name such as 'int8'")
    name, *given = text.split(":")
    if name not in _KINDS:
        raise UserError(f"no compression '{name}'{nearest(name, _KINDS)}")
    takes = _KINDS[name].numbers
    if len(given) > len(takes):
        expected = takes[-1].expected if takes else f"{name} without a number"
        raise UserError(f"compression '{text}'; expected {expected}")
    given += [""] * (len(takes) - len(given))
    values = []
    for number, written in zip(takes, given, strict=True):
        value = number.read(written)
        if value is None:
            raise UserError(f"compression '{text}'; expected {number.expected}")
        values.append(value)
    return Compression(name, *values)


def chunks_of(numbers: int, share: float) -> tuple[int, int, int]:
    """SparseLoCo's chunks of a buffer: how many, how long each, and how many numbers each sends.

    All have one length, which zeros at the buffer's end fill.
    """
    chunks = -(-numbers // SPARSELOCO_CHUNK)
    length = -(-numbers // chunks)
    return chunks, length, math.ceil(share * length)


def low_bits(numbers: int, chosen: int) -> int:
    """How many bits of each index the Elias–Fano code (Elias 1974) has as they are."""
    return (numbers // chosen).bit_length() - 1


def index_bits(numbers: int, chosen: int) -> int:
    """Bits of that code, of `chosen` ascending indices below `numbers`: log2(numbers / chosen) + 2 each."""
    low = low_bits(numbers, chosen)
    return chosen * (low + 1) + ((numbers - 1) >> low)


def matrix_of(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a parameter as a matrix: its first axis by all others; a vector is a row."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def tile_of(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of DeMo's chunks of a parameter: the largest divisors up to 64 of its matrix's."""
    rows, columns = (
        max(edge for edge in range(1, DEMO_EDGE + 1) if length % edge == 0)
        for length in matrix_of(shape)
    )
    return rows, columns


def _whole(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes


def _half(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes / 2


def _blocks(gradient: Gradient, number: float, world_size: int) -> float:
    return gradient.size_bytes / 4 + gradient.size_bytes / INT8_BLOCK


def _gathered(size_bytes: float, world_size: int) -> float:
    """The all-reduce in which each rank sends as much as when all gather `size_bytes` from each.

    That is p − 1 times these bytes, instead of 2(p − 1)/p times the buffer.
    """
    return size_bytes * world_size / 2


def _largest(gradient: Gradient, share: float, world_size: int) -> float:
    """Four bytes for each number that is sent, and the code of the indices, as in a large bucket."""
    sent = math.ceil(share * _LARGE)
    bucket_bytes = index_bits(_LARGE, sent) / 8 + 4 * sent
    return _gathered(gradient.size_bytes / 4 / _LARGE * bucket_bytes, world_size)


def _four_bits(gradient: Gradient, number: float, world_size: int) -> float:
    return _gathered(gradient.size_bytes / 8 + gradient.size_bytes / E3M0_BLOCK, world_size)


def _few_of_chunks(gradient: Gradient, share: float, world_size: int) -> float:
    """For a chunk the code of the indices, two bits a number, and two levels of two bytes."""
    _, length, sent = chunks_of(SPARSELOCO_CHUNK, share)
    chunk_bytes = -(-(index_bits(length, sent) + 2 * sent) // 8) + 4
    return _gathered(gradient.size_bytes / 4 / length * chunk_bytes, world_size)


def _in_turn(gradient: Gradient, turns: float, world_size: int) -> float:
    """For a chunk two bits a number, and two levels of two bytes."""
    _, length, sent = chunks_of(SPARSELOCO_CHUNK, 1 / turns)
    chunk_bytes = -(-2 * sent // 8) + 4
    return _gathered(gradient.size_bytes / 4 / length * chunk_bytes, world_size)


def _components(gradient: Gradient, components: float, world_size: int) -> float:
    """For a chunk the code of the indices, and two bytes a component."""
    numbers = gradient.size_bytes // 4
    length = math.prod(tile_of(gradient.shape or (numbers,)))
    sent = min(int(components), length)
    chunk_bytes = -(-index_bits(length, sent) // 8) + 2 * sent
    return _gathered(numbers / length * chunk_bytes, world_size)


def _factors(gradient: Gradient, rank: float, world_size: int) -> float:
    """PyTorch's PowerSGD: two factors of a matrix, or all of it if they exceed half its elements."""
    if len(gradient.shape) < 2:
        return gradient.size_bytes
    rows, columns = matrix_of(gradient.shape)
    factors = rank * (rows + columns)
    return 4 * factors if 2 * factors < rows * columns else gradient.size_bytes


def _share(default: float, example: str) -> _Number:
    return _Number(default, lambda it: 0 < it <= 1, f"a share above 0 and at most 1, as {example}")


def _count(default: float, what: str, example: str) -> _Number:
    return _Number(
        default, lambda it: it >= 1 and it.is_integer(), f"{what} 1 or more, as {example}"
    )


def _decay(default: float, example: str) -> _Number:
    return _Number(default, lambda it: 0 <= it <= 1, f"a decay from 0 to 1, as {example}")


_KINDS = {
    "none": _Kind(_whole),
    "fp16": _Kind(_half, 1.0),
    "bf16": _Kind(_half, 1.0),
    "int8": _Kind(_blocks, 13.0, keeps_errors=True),
    "e3m0": _Kind(_four_bits, 20.0, gathers=True),
    "topk": _Kind(_largest, 20.0, keeps_errors=True, numbers=(_share(0.01, "topk:0.01"),)),
    "powersgd": _Kind(
        _factors,
        7.0,
        keeps_errors=True,
        by_layer=True,
        numbers=(_count(4.0, "a rank of", "powersgd:4"),),
    ),
    "sparseloco": _Kind(
        _few_of_chunks,
        17.0,
        keeps_errors=True,
        numbers=(_share(0.02, "sparseloco:0.02"), _decay(0.95, "sparseloco:0.02:0.95")),
    ),
    "turns": _Kind(
        _in_turn,
        9.0,
        keeps_errors=True,
        numbers=(_count(25.0, "a number of turns of", "turns:25"),),
    ),
    "demo": _Kind(
        _components,
        38.0,
        keeps_errors=True,
        by_layer=True,
        numbers=(
            _count(32.0, "a number of components of", "demo:32"),
            _decay(0.999, "demo:32:0.999"),
        ),
    ),
}
