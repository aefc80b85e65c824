"""Short and exact forms of floats and whole numbers.

Floats are split into their first bytes (sign and exponent), which repeat and are deflated, and the others.
Whole numbers are their lengths in bits, which repeat and are deflated, and the bits below the highest.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from firetree.errors import UserError

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

_WORD = 32
_LEAST_HALF = 2.0**-14


def pack(content: bytes) -> bytes:
    """Deflate without a header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def unpack(content: bytes, most_bytes: int) -> bytes:
    """What `pack` was given.

    Raises:
        UserError: damaged content, or more than `most_bytes` in it.
    """
    unpacker = zlib.decompressobj(-15)
    try:
        inside = unpacker.decompress(content, most_bytes + 1)
    except zlib.error as error:
        raise UserError(f"deflated bytes are damaged: {error}") from error
    if len(inside) > most_bytes or not unpacker.eof or unpacker.unused_data:
        raise UserError(f"deflated bytes are damaged: expected at most {most_bytes} inside")
    return inside


def join(*parts: bytes) -> bytes:
    """Each part behind its length (uint32)."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def split(content: bytes, count: int) -> list[bytes]:
    """The parts that `join` put together.

    Raises:
        UserError: not so many parts, or bytes that belong to none.
    """
    parts = []
    for _ in range(count):
        length = int.from_bytes(content[:4], "little")
        parts.append(content[4 : 4 + length])
        if len(content) < 4 + length:
            raise UserError("a part is cut off")
        content = content[4 + length :]
    if content:
        raise UserError(f"{len(content)} bytes behind the last part")
    return parts


def is_half(values: Floats) -> bool:
    """Whether 16 bits hold each of these floats to the last bit."""
    with np.errstate(over="ignore"):
        half = values.astype("<f2").astype(np.float32)
    return bool((half.view(np.uint32) == values.view(np.uint32)).all())


def to_half(values: npt.NDArray[np.floating]) -> Floats:
    """The nearest floats of 16 bits; of 32 bits where a value is too large, or all are too small.

    Floats of 16 bits end at 65,504, and lose digits below `_LEAST_HALF`.
    """
    with np.errstate(over="ignore"):
        half = values.astype(np.float16).astype(np.float32)
    largest = np.abs(values).max(initial=0)
    fits = np.isfinite(half).all() and (largest == 0 or largest >= _LEAST_HALF)
    return half if fits else values.astype(np.float32)


def pack_floats(values: Floats, width: int) -> bytes:
    """The floats in `width` bytes each, 2 or 4, which must hold them exactly."""
    planes = values.astype(f"<f{width}").view(np.uint8).reshape(-1, width).T
    return join(pack(planes[-1].tobytes()), planes[:-1].tobytes())


def unpack_floats(content: bytes, count: int, width: int) -> Floats:
    """The `count` floats that `pack_floats` was given.

    Raises:
        UserError: damaged content, or a number that is not finite.
    """
    first, rest = split(content, 2)
    first = unpack(first, count)
    if len(first) != count or len(rest) != count * (width - 1):
        raise UserError(f"expected {count} numbers of {width} bytes")
    planes = np.frombuffer(rest + first, np.uint8).reshape(width, count)
    values = np.ascontiguousarray(planes.T).view(f"<f{width}")[:, 0].astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError("a number is not finite")
    return values


def pack_whole(values: Whole) -> bytes:
    """Numbers from 0 up to 2^32."""
    lengths = np.frexp(values.astype(np.float64))[1]
    below = np.arange(_WORD)
    bits = ((values[:, None] >> below) & 1)[below < lengths[:, None] - 1]
    packed = np.packbits(bits.astype(np.uint8)).tobytes()
    return join(pack(lengths.astype(np.uint8).tobytes()), packed)


def unpack_whole(content: bytes, count: int) -> Whole:
    """The `count` numbers that `pack_whole` was given.

    Raises:
        UserError: damaged content.
    """
    packed, bits = split(content, 2)
    lengths = np.frombuffer(unpack(packed, count), np.uint8).astype(np.int64)
    bit_count = int(np.maximum(lengths - 1, 0).sum())
    if len(lengths) != count or lengths.max(initial=0) > _WORD or len(bits) != (bit_count + 7) // 8:
        raise UserError(f"expected the lengths of {count} numbers and the bits for them")
    below = np.arange(_WORD)
    grid = np.zeros((count, _WORD), np.int64)
    grid[below < lengths[:, None] - 1] = np.unpackbits(
        np.frombuffer(bits, np.uint8), count=bit_count
    )
    top: Whole = np.where(lengths > 0, 1 << np.maximum(lengths - 1, 0), 0)
    values: Whole = top + (grid << below).sum(axis=1)
    return values
