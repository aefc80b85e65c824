"""The codes of a `.fire`: which weights are not zero, and which codebook values they have.

Letters in names: N symbols, T tensors with codes (each has a table of its own), A symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.errors import UserError
from firetree.modelfiles.fire.coders import Coder, Decoder
from firetree.modelfiles.fire.numbers import join, pack, split, unpack
from firetree.modelfiles.fire.shared import Codes, Shared
from firetree.modelfiles.fire.tables import (
    ALPHABET,
    GROUP,
    LEVELS,
    ONES,
    CodedStream,
    Ints,
    Symbols,
    Tables,
    from_levels,
    levels,
    mask_frequencies,
)

_LANE_WEIGHTS, _LEAST_LANES = 1024, 16


def runs_across(tensor: Shared) -> bool:
    """Whether the mask is shorter by columns, as where the density varies between inputs."""

    def varied(across: bool) -> float:
        return float(ONES[groups(tensor, across)].var())

    return varied(True) > varied(False)


def groups(tensor: Shared, across: bool) -> Ints:
    """The mask in bytes, first position in the highest bit: filter by filter, or across filters."""
    grid = tensor.codes.reshape(tensor.shape[0], -1) > 0
    return np.packbits((grid.T if across else grid).ravel()).astype(np.int64)


def ungroup(groups: Symbols, indices: Symbols, shape: tuple[int, ...], across: bool) -> Codes:
    """All codes of a tensor, from its mask and the codes of what is not zero."""
    count = int(np.prod(shape))
    mask = np.unpackbits(groups, count=count).view(bool)
    if across:
        mask = np.ascontiguousarray(mask.reshape(-1, shape[0]).T).ravel()
    codes = np.zeros(count, np.uint8)
    codes[mask] = indices + 1
    return codes


def write_codes(masks: list[Ints], indices: list[Ints], sizes: list[int], coder: Coder) -> bytes:
    """Section CODE: what `groups` gave for each tensor, and indices into codebooks of these sizes."""
    shares, levels_TA = mask_shares(masks), code_levels(indices)
    rows = [row[:size] for row, size in zip(levels_TA, sizes, strict=True)]
    steps = [np.diff(row.astype(np.int64), prepend=0) % LEVELS for row in rows]
    messages = [
        _message(masks, mask_frequencies(shares)),
        _message(indices, from_levels(levels_TA)),
    ]
    return join(
        pack(shares.astype("<u2").tobytes()),
        pack(_row(steps).astype(np.uint8).tobytes()),
        coder.encode(messages, lanes(GROUP * sum(map(len, masks)), coder)),
    )


def read_codes(
    content: bytes, weights: list[int], sizes: list[int], coder: Coder
) -> list[tuple[Symbols, Symbols]]:
    """For tensors of so many weights: what `groups` gave, and indices into codebooks of these sizes.

    Raises:
        UserError: damaged content.
    """
    mask_tables, code_tables, encoded = split(content, 3)
    lengths = [-(-count // GROUP) for count in weights]
    decoder = coder.decoder(encoded, lanes(GROUP * sum(lengths), coder))
    masks = _parts(decoder, lengths, mask_frequencies(_read_shares(mask_tables, len(weights))))
    for mask, count in zip(masks, weights, strict=True):
        if len(mask) and mask[-1] & ((1 << -count % GROUP) - 1):
            raise UserError("a mask of the .fire goes on behind its tensor")
    counts = [int(ONES[mask].sum()) for mask in masks]
    indices = _parts(decoder, counts, from_levels(_read_levels(code_tables, sizes)))
    for codes, size in zip(indices, sizes, strict=True):
        if len(codes) and codes.max() >= size:
            raise UserError("a code of the .fire is behind its codebook")
    decoder.end()
    return list(zip(masks, indices, strict=True))


def lanes(weights: int, coder: Coder) -> int:
    """One lane for each 1,024 weights, as a power of two: lanes cost bytes, rows cost time."""
    wanted = max(weights // _LANE_WEIGHTS, _LEAST_LANES)
    return min(coder.most_lanes, 1 << wanted.bit_length() - 1)


def mask_shares(masks: list[Ints]) -> Ints:
    """shares_T9: how many bytes of a mask have so many ones, in 65,535ths."""
    counts = [np.bincount(ONES[one], minlength=GROUP + 1) for one in masks]
    return np.array([_scaled(count) for count in counts], np.int64).reshape(-1, GROUP + 1)


def code_levels(indices: list[Ints]) -> npt.NDArray[np.uint8]:
    """levels_TA: how often each value of each codebook occurs, in short form."""
    counts = np.array([np.bincount(one, minlength=ALPHABET) for one in indices], np.int64)
    return levels(counts.reshape(-1, ALPHABET))


def _read_shares(packed: bytes, tensors: int) -> Ints:
    content = unpack(packed, 2 * (GROUP + 1) * tensors)
    if len(content) != 2 * (GROUP + 1) * tensors:
        raise UserError("section CODE of the .fire has too few tables for masks")
    return np.frombuffer(content, "<u2").reshape(-1, GROUP + 1).astype(np.int64)


def _read_levels(packed: bytes, sizes: list[int]) -> npt.NDArray[np.uint8]:
    steps = np.frombuffer(unpack(packed, sum(sizes)), np.uint8).astype(np.int64)
    if len(steps) != sum(sizes):
        raise UserError("section CODE of the .fire has too few tables")
    levels_TA = np.zeros((len(sizes), ALPHABET), np.uint8)
    for row, part in zip(levels_TA, _split(steps, sizes), strict=True):
        row[: len(part)] = np.cumsum(part) % LEVELS
    return levels_TA


def _scaled(counts: Ints) -> Ints:
    """Shares of 65,535, at least 1 for what occurs."""
    scaled = counts * 65_534 // max(int(counts.sum()), 1)
    return np.where(counts > 0, np.maximum(scaled, 1), 0)


def _message(parts: list[Ints], freq_TA: Ints) -> CodedStream:
    """All symbols, each with the table of its tensor."""
    return CodedStream(_row(parts), _tables([len(part) for part in parts]), freq_TA)


def _parts(decoder: Decoder, counts: list[int], freq_TA: Ints) -> list[Symbols]:
    """The next message, cut into so many symbols for each tensor."""
    return _split(decoder.take(_tables(counts), freq_TA), counts)


def _tables(counts: list[int]) -> Tables:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def _row(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _split(row: npt.NDArray[Any], counts: list[int]) -> list[npt.NDArray[Any]]:
    return np.split(row, np.cumsum(counts)[:-1]) if counts else []
