"""Frequency tables of the entropy coders: whole numbers that add up to `TOTAL`, and their short form.

Tables are made from integers only, so that every machine gets the same ones.

Letters in names: N symbols, T tables, A symbols of the alphabet.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PRECISION_BITS = 14
TOTAL = 1 << PRECISION_BITS

ALPHABET = 256
LEVELS = 32
"""Of a table's short form: 0 for a symbol that does not occur, then half octaves."""

_WEIGHTS = np.array([0, *(round(16 * 2 ** (level / 2)) for level in range(LEVELS - 1))], np.int64)

Ints = npt.NDArray[np.int64]
Symbols = npt.NDArray[np.uint8]
Tables = npt.NDArray[np.int32]
"""For each symbol, the table that it is coded with."""


class CodedStream(NamedTuple):
    """A coder's input: symbols, each with a frequency in its table."""

    symbol_N: Ints
    table_N: Tables
    freq_TA: Ints


GROUP = 8
"""Positions of the mask in one byte."""

ONES = np.array([byte.bit_count() for byte in range(ALPHABET)], np.int64)
"""Ones of each byte."""

_ARRANGEMENTS = np.array([comb(GROUP, ones) for ones in range(GROUP + 1)], np.int64)


def levels(counts_TA: Ints) -> npt.NDArray[np.uint8]:
    """The short form of tables: each count in half octaves, the largest of a table at the top."""
    largest = np.maximum(counts_TA.max(axis=1, keepdims=True, initial=0), 1)
    ratio = np.log2(np.maximum(counts_TA, 1) / largest)
    steps = np.maximum(np.rint(2 * ratio) + LEVELS - 1, 1)
    return np.where(counts_TA > 0, steps, 0).astype(np.uint8)


def from_levels(levels_TA: npt.NDArray[np.uint8]) -> Ints:
    """freq_TA of the short form, whose values are below `LEVELS`."""
    return normalise(_WEIGHTS[levels_TA])


def mask_frequencies(shares_T9: Ints) -> Ints:
    """freq_TA of bytes by how many ones they have; bytes with as many ones are equally frequent."""
    return normalise((shares_T9 * 10_080 // _ARRANGEMENTS)[:, ONES])


def normalise(weights_TA: Ints) -> Ints:
    """freq_TA: shares of `TOTAL` by weight, at least 1 where there is a weight, below 2^30 each.

    A table without weights gives all to its first symbol.
    """
    weights_TA = weights_TA.copy()
    weights_TA[weights_TA.sum(axis=1) == 0, 0] = 1
    present = weights_TA > 0
    spare = TOTAL - present.sum(axis=1, keepdims=True)
    freq_TA: Ints = present + weights_TA * spare // weights_TA.sum(axis=1, keepdims=True)
    freq_TA[np.arange(len(freq_TA)), freq_TA.argmax(axis=1)] += TOTAL - freq_TA.sum(axis=1)
    return freq_TA


def entropy_bits(counts: Ints) -> float:
    """Bits that symbols of these counts take at least, each coded on its own."""
    some = counts[counts > 0]
    return float((some * np.log2(some.sum() / some)).sum())
