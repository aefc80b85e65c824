"""The two streams of a `.fire`: where weights are not zero, and which value of the codebook they have.

Letters in names: N symbols, T tensors with codes (each has a table of its own), A symbols.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt

from firetree.compress.numbers import join, pack, split, unpack
from firetree.compress.shared import Codes, Shared
from firetree.compress.tables import (
    ALPHABET,
    GROUP,
    LEVELS,
    ONES,
    Ints,
    Symbols,
    Tables,
    from_levels,
    levels,
    mask_frequencies,
)
from firetree.errors import UserError


def runs_across(tensor: Shared) -> bool:
    """Whether the mask is shorter by columns: what varies is then how dense an input is."""

    def varied(across: bool) -> float:
        return float(ONES[groups(tensor, across)].var())

    return varied(True) > varied(False)


def groups(tensor: Shared, across: bool) -> Ints:
    """The mask in bytes, first position highest: filter by filter, or across them."""
    grid = tensor.codes.reshape(tensor.shape[0], -1) > 0
    return np.packbits((grid.T if across else grid).ravel()).astype(np.int64)


def ungroup(groups: Symbols, found: Symbols, shape: tuple[int, ...], across: bool) -> Codes:
    """All codes of a tensor, from its mask and the codes of what is not zero."""
    count = int(np.prod(shape))
    mask = np.unpackbits(groups, count=count).view(bool)
    if across:
        mask = np.ascontiguousarray(mask.reshape(-1, shape[0]).T).ravel()
    codes = np.zeros(count, np.uint8)
    codes[mask] = found + 1
    return codes


def write_mask(masks: list[Ints], coder: ModuleType) -> bytes:
    """Section MASK of what `groups` gave for each tensor."""
    shares = mask_shares(masks)
    symbols, tables = _in_one_row(masks)
    encoded: bytes = coder.encode(symbols, tables, mask_frequencies(shares))
    return join(pack(shares.astype("<u2").tobytes()), encoded)


def mask_shares(masks: list[Ints]) -> Ints:
    """shares_T9: how many bytes of a mask have so many ones, in 65,535ths."""
    counts = [np.bincount(ONES[one], minlength=GROUP + 1) for one in masks]
    return np.array([_scaled(count) for count in counts], np.int64).reshape(-1, GROUP + 1)


def read_mask(content: bytes, places: list[int], coder: ModuleType) -> list[Symbols]:
    """What `groups` gave for tensors of so many places.

    Raises:
        UserError: damaged content.
    """
    packed, encoded = split(content, 2)
    told = unpack(packed, 2 * (GROUP + 1) * len(places))
    if len(told) != 2 * (GROUP + 1) * len(places):
        raise UserError("section MASK of the .fire has too few tables")
    shares = np.frombuffer(told, "<u2").reshape(-1, GROUP + 1).astype(np.int64)
    sizes = [-(-count // GROUP) for count in places]
    masks: Symbols = coder.decode(encoded, _tables(sizes), mask_frequencies(shares))
    parts = np.split(masks, np.cumsum(sizes)[:-1])
    for part, count in zip(parts, places, strict=False):
        if len(part) and part[-1] & ((1 << -count % GROUP) - 1):
            raise UserError("a mask of the .fire goes on behind its tensor")
    return parts if sizes else []


def code_levels(found: list[Ints]) -> npt.NDArray[np.uint8]:
    """levels_TA: how often each value of each codebook occurs, in short form."""
    counts = np.array([np.bincount(one, minlength=ALPHABET) for one in found], np.int64)
    return levels(counts.reshape(-1, ALPHABET))


def write_codes(found: list[Ints], sizes: list[int], coder: ModuleType) -> bytes:
    """Section CODE: places in codebooks of these sizes, for each tensor."""
    levels_TA = code_levels(found)
    told = [row[:size] for row, size in zip(levels_TA, sizes, strict=True)]
    steps = [np.diff(row.astype(np.int64), prepend=0) % LEVELS for row in told]
    symbols, tables = _in_one_row(found)
    encoded: bytes = coder.encode(symbols, tables, from_levels(levels_TA))
    short = np.concatenate([np.zeros(0, np.int64), *steps]).astype(np.uint8)
    return join(pack(short.tobytes()), encoded)


def read_codes(
    content: bytes, counts: list[int], sizes: list[int], coder: ModuleType
) -> list[Symbols]:
    """Places in codebooks of these sizes, so many for each tensor.

    Raises:
        UserError: damaged content.
    """
    packed, encoded = split(content, 2)
    steps = np.frombuffer(unpack(packed, sum(sizes)), np.uint8).astype(np.int64)
    if len(steps) != sum(sizes):
        raise UserError("section CODE of the .fire has too few tables")
    levels_TA = np.zeros((len(sizes), ALPHABET), np.uint8)
    for row, part in zip(levels_TA, np.split(steps, np.cumsum(sizes)[:-1]), strict=False):
        row[: len(part)] = np.cumsum(part) % LEVELS
    found: Symbols = coder.decode(encoded, _tables(counts), from_levels(levels_TA))
    parts = np.split(found, np.cumsum(counts)[:-1])
    for codes, size in zip(parts, sizes, strict=False):
        if len(codes) and codes.max() >= size:
            raise UserError("a code of the .fire is behind its codebook")
    return parts if counts else []


def _scaled(counts: Ints) -> Ints:
    """Shares of 65,535, at least 1 for what occurs."""
    scaled = counts * 65_534 // max(int(counts.sum()), 1)
    return np.where(counts > 0, np.maximum(scaled, 1), 0)


def _in_one_row(parts: list[Ints]) -> tuple[Ints, Tables]:
    """All symbols, and the table of each: that of its tensor."""
    return np.concatenate([np.zeros(0, np.int64), *parts]), _tables([len(part) for part in parts])


def _tables(counts: list[int]) -> Tables:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)
