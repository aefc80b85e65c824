"""A compressed model to the bytes of a `.fire`, and back.

Section HEAD describes the model, CLAS names its classes, and NUMS holds codebooks and tensors without codes.
CODE says which weights are zero and which codebook values the others have. `docs/fire-format.md` has the
format byte by byte.

Letters in names: N symbols, T tensors with codes (each has a table of its own), A symbols.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.modelfiles.fire.coders import CODERS, CoderName
from firetree.modelfiles.fire.container import frame, unframe
from firetree.modelfiles.fire.numbers import (
    Floats,
    is_half,
    join,
    pack,
    pack_floats,
    pack_whole,
    split,
    unpack,
    unpack_floats,
    unpack_whole,
)
from firetree.modelfiles.fire.shared import Compressed, Shared
from firetree.modelfiles.fire.streams import (
    groups,
    read_codes,
    runs_across,
    ungroup,
    write_codes,
)
from firetree.modelfiles.fire.tables import ALPHABET, Ints
from firetree.modelfiles.model import Model, describe, from_description, shapes_of

TAGS = (b"HEAD", b"CLAS", b"NUMS", b"CODE")
_MARKS = {2: -2, 4: -1}
"""For tensors without codes: bytes of a number, and what HEAD has in place of a codebook's length."""

_MOST_HEAD_BYTES = 1 << 16
_MOST_CLASS_BYTES = 1 << 20
_MOST_WEIGHTS_A_BYTE = 256
"""A file with more weights a byte is forged."""


def write(compressed: Compressed, coder: CoderName = "rans") -> bytes:
    """The bytes of the file, encoded by one of `CODERS`."""
    model = compressed.model
    shared = [tensor for tensor in compressed.tensors.values() if isinstance(tensor, Shared)]
    across = [runs_across(tensor) for tensor in shared]
    first = next(iter(compressed.tensors.values()))
    head = describe(model) | {
        "coder": coder,
        "classes": int(list(compressed.tensors.values())[-1].shape[0]),
        "channels": int(first.shape[1]),
        "values": [_value_count(tensor) for tensor in compressed.tensors.values()],
        "across": across,
    }
    numbers = []
    for width, mark in _MARKS.items():
        plain = (
            tensor.numpy().ravel()
            for tensor in compressed.tensors.values()
            if isinstance(tensor, Tensor) and _value_count(tensor) == mark
        )
        numbers.append(pack_floats(np.concatenate([np.zeros(0, np.float32), *plain]), width))
    numbers.append(_pack_codebooks([tensor.codebook for tensor in shared]))
    masks = [groups(tensor, turned) for tensor, turned in zip(shared, across, strict=True)]
    indices = [tensor.codes[tensor.codes > 0].astype(np.int64) - 1 for tensor in shared]
    contents = (
        pack(json.dumps(head, separators=(",", ":")).encode()),
        pack("\n".join(model.classes).encode()),
        join(*numbers),
        write_codes(masks, indices, [len(tensor.codebook) for tensor in shared], CODERS[coder]),
    )
    return frame(dict(zip(TAGS, contents, strict=True)))


def read(content: bytes) -> Compressed:
    """The model in a `.fire`.

    Memory stays within a small multiple of the model's size, at most 256 weights a byte of the file.

    Raises:
        UserError: the file is cut off, changed, or forged.
    """
    head_bytes, names, numbers, codes = unframe(content, TAGS)
    head = _read_head(head_bytes)
    model = from_description(head, _read_classes(names))
    expected = _expected_shapes(model, head, len(content))
    values: list[int] = head["values"]
    if len(values) != len(expected):
        raise UserError(f"the .fire tells of {len(values)} tensors; expected {len(expected)}")
    layout = list(zip(expected.items(), values, strict=True))
    shared_shapes = {name: shape for (name, shape), count in layout if count >= 0}
    across: list[bool] = head["across"]
    if len(across) != len(shared_shapes):
        raise UserError("the .fire does not say which way each mask runs")
    *plain_bytes, book_bytes = split(numbers, 3)
    plain: dict[str, Tensor] = {}
    for kept, (width, mark) in zip(plain_bytes, _MARKS.items(), strict=True):
        marked = {name: shape for (name, shape), count in layout if count == mark}
        plain |= _read_plain(kept, marked, width)
    sizes = [count for count in values if count >= 0]
    codebooks = _unpack_codebooks(book_bytes, sizes)
    weights = [int(np.prod(shape)) for shape in shared_shapes.values()]
    masks_and_indices = read_codes(codes, weights, sizes, CODERS[head["coder"]])
    shared = {
        name: Shared(shape, ungroup(mask, code, shape, turned), codebook)
        for (name, shape), (mask, code), turned, codebook in zip(
            shared_shapes.items(), masks_and_indices, across, codebooks, strict=True
        )
    }
    return Compressed(model, {name: (plain | shared)[name] for name in expected})


def _read_head(head_bytes: bytes) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(unpack(head_bytes, _MOST_HEAD_BYTES))
        right = (
            head["coder"] in CODERS
            and all(
                type(head[key]) is int and 0 < head[key] < 1 << 20
                for key in ("classes", "channels")
            )
            and all(
                type(count) is int and min(_MARKS.values()) <= count < ALPHABET
                for count in head["values"]
            )
            and all(type(turned) is bool for turned in head["across"])
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"section HEAD of the .fire is damaged: {error}") from error
    if not right:
        raise UserError("section HEAD of the .fire holds a value out of range")
    return head


def _read_classes(names: bytes) -> Sequence[str]:
    try:
        text = unpack(names, _MOST_CLASS_BYTES).decode()
    except UnicodeDecodeError as error:
        raise UserError("the class names of the .fire are no UTF-8") from error
    return text.split("\n") if text else ()


def _expected_shapes(
    model: Model, head: dict[str, Any], file_bytes: int
) -> dict[str, tuple[int, ...]]:
    channels = len(model.preprocessing.mean)
    if head["channels"] != channels:
        raise UserError(
            f"{head['channels']} channels; expected {channels}, as preprocessing.mean has"
        )
    expected = shapes_of(model, head["classes"])
    weights = sum(int(np.prod(shape, dtype=np.float64)) for shape in expected.values())
    if weights > _MOST_WEIGHTS_A_BYTE * file_bytes:
        raise UserError(f"{weights:,} weights in {file_bytes:,} bytes; this is no honest .fire")
    if len(model.classes) not in (0, head["classes"]):
        raise UserError(f"{len(model.classes)} class names; expected {head['classes']}")
    return expected


def _value_count(tensor: Shared | Tensor) -> int:
    if isinstance(tensor, Shared):
        return len(tensor.codebook)
    return _MARKS[2 if is_half(tensor.numpy()) else 4]


def _read_plain(
    content: bytes, expected: dict[str, tuple[int, ...]], width: int
) -> dict[str, Tensor]:
    counts = [int(np.prod(shape)) for shape in expected.values()]
    values = torch.from_numpy(unpack_floats(content, sum(counts), width))
    parts = torch.split(values, counts) if counts else ()
    return {
        name: part.reshape(shape)
        for (name, shape), part in zip(expected.items(), parts, strict=True)
    }


def _pack_codebooks(codebooks: list[Floats]) -> bytes:
    """All codebooks in one row, as ranks among all floats: a first rank, then differences.

    Floats are those of 16 bits where that is exact, else of 32; a first byte of 0 or 1 says which.
    """
    row = np.concatenate([np.zeros(0, np.float32), *codebooks])
    bits = 16 if is_half(row) else 32
    steps = [np.diff(_rank(codebook, bits), prepend=0) for codebook in codebooks]
    return bytes([bits == 32]) + pack_whole(np.concatenate([np.zeros(0, np.int64), *steps]))


def _unpack_codebooks(content: bytes, sizes: list[int]) -> list[Floats]:
    if content[:1] not in (b"\0", b"\1"):
        raise UserError("the codebooks of the .fire have no width; expected 0 or 1")
    bits = 32 if content[0] else 16
    steps = unpack_whole(content[1:], sum(sizes))
    ranks = [np.cumsum(part) for part in np.split(steps, np.cumsum(sizes)[:-1])]
    if any(part.max(initial=0) >> bits for part in ranks):
        raise UserError("a codebook of the .fire goes on behind the last float")
    codebooks = [_unrank(part, bits) for part in ranks]
    if not all(np.isfinite(codebook).all() for codebook in codebooks):
        raise UserError("a codebook of the .fire holds a number that is not finite")
    return codebooks if sizes else []


def _rank(values: Floats, bits: int) -> Ints:
    """The rank of each value among all floats of so many bits, in ascending order."""
    patterns = values.astype(f"<f{bits // 8}").view(f"<u{bits // 8}").astype(np.int64)
    sign = 1 << (bits - 1)
    return np.where(patterns & sign, 2 * sign - 1 - patterns, patterns + sign)


def _unrank(ranks: Ints, bits: int) -> Floats:
    sign = 1 << (bits - 1)
    patterns = np.where(ranks & sign, ranks - sign, 2 * sign - 1 - ranks)
    return patterns.astype(f"<u{bits // 8}").view(f"<f{bits // 8}").astype(np.float32)
