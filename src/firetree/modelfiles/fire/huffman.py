"""Canonical Huffman codes, as in Deep Compression (Han et al. 2016), in lanes side by side.

Symbol n of a message belongs to lane n mod L. Each lane has its own stream of bits, so that numpy decodes
a symbol of every lane at once. A code has at most 15 bits. Codes of one length are consecutive numbers in
the order of their symbols, and start with the most significant bit (as in RFC 1951).

Letters in names: N symbols, L lanes, T tables, A symbols of the alphabet.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firetree.errors import UserError
from firetree.modelfiles.fire.tables import CodedStream, Ints, Symbols, Tables

MOST_LANES = 512
_LONGEST = 15
_BEHIND = 1 << 40
"""The length for bits that start no code; it leads beyond the end of every lane."""


def lengths(freq_A: Ints) -> Ints:
    """Bits of each symbol's code, 0 for symbols that do not occur; 1 for a single symbol.

    Of equally frequent trees the one with the lower number is joined first. A symbol is its own number;
    a joined tree takes the number of its first part.
    """
    symbols = np.flatnonzero(freq_A).tolist()
    if len(symbols) == 1:
        return (freq_A > 0).astype(np.int64)
    length_A = np.zeros(len(freq_A), np.int64)
    heap = [(int(freq_A[s]), s, [s]) for s in symbols]
    heapq.heapify(heap)
    while len(heap) > 1:
        (one, number, left), (other, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        length_A[left + right] += 1
        heapq.heappush(heap, (one + other, number, left + right))
    # Flatter frequencies give shorter codes, down to equal lengths.
    return length_A if length_A.max() <= _LONGEST else lengths((freq_A + 1) // 2)


def codes(length_A: Ints) -> Ints:
    """The canonical code of each symbol, as a number of that many bits."""
    code_A = np.zeros(len(length_A), np.int64)
    code = 0
    for length in range(1, _LONGEST + 1):
        code <<= 1
        for symbol in np.flatnonzero(length_A == length).tolist():
            code_A[symbol] = code
            code += 1
    return code_A


def encode(messages: Sequence[CodedStream], lanes: int) -> bytes:
    """The bytes of each lane's stream (uint32 each), then the streams."""
    bits_L: list[list[npt.NDArray[np.bool_]]] = [[] for _ in range(lanes)]
    below = np.arange(_LONGEST - 1, -1, -1)
    for symbol_N, table_N, freq_TA in messages:
        length_TA = np.array([lengths(freq_A) for freq_A in freq_TA], np.int64).reshape(
            freq_TA.shape
        )
        code_TA = np.array([codes(length_A) for length_A in length_TA], np.int64).reshape(
            freq_TA.shape
        )
        length_N, code_N = length_TA[table_N, symbol_N], code_TA[table_N, symbol_N]
        for lane, bits in enumerate(bits_L):
            length, code = length_N[lane::lanes, None], code_N[lane::lanes, None]
            bits.append((code >> below & 1).astype(bool)[below < length])
    streams = [np.packbits(np.concatenate(bits)).tobytes() for bits in bits_L]
    sizes = np.array([len(stream) for stream in streams], "<u4").tobytes()
    return b"".join([sizes, *streams])


class HuffmanDecoder:
    """Decodes the messages that `encode` was given, in order.

    Raises:
        UserError: the content does not have so many lanes, or does not fit the tables.
    """

    def __init__(self, content: bytes, lanes: int) -> None:
        if len(content) < 4 * lanes:
            raise UserError(f"{len(content)} bytes of codes; expected {4 * lanes} or more")
        size_L = np.frombuffer(content, "<u4", lanes).astype(np.int64)
        self._end_L = np.cumsum(size_L) * 8
        if self._end_L[-1] != 8 * (len(content) - 4 * lanes):
            raise UserError("codes do not end where they should")
        self._offset_L = self._end_L - 8 * size_L
        data = np.frombuffer(content + bytes(4), np.uint8, offset=4 * lanes).astype(np.int32)
        # 15 bits from any offset lie within three bytes.
        self._windows = (data[:-2] << 16) | (data[1:-1] << 8) | data[2:]

    def take(self, table_N: Tables, freq_TA: Ints) -> Symbols:
        """symbol_N of the next message."""
        entries = _entries(freq_TA)
        symbol_N = np.empty(len(table_N), np.uint8)
        lanes = len(self._offset_L)
        for begin in range(0, len(table_N), lanes):
            base = table_N[begin : begin + lanes] << _LONGEST
            offset = self._offset_L[: len(base)]
            window = self._windows.take(offset >> 3, mode="clip")
            peek = (window >> (24 - _LONGEST - (offset & 7))) & ((1 << _LONGEST) - 1)
            entry = entries.take(peek + base, mode="clip")
            symbol_N[begin : begin + lanes] = entry & 255
            offset += entry >> 8
        return symbol_N

    def end(self) -> None:
        """After the last message."""
        spare_L = self._end_L - self._offset_L
        if ((spare_L < 0) | (spare_L > 7)).any():
            raise UserError("codes do not end where they should")


def _entries(freq_TA: Ints) -> Ints:
    """For each value of the next 15 bits: the symbol whose code they start with, and its length."""
    entries = np.full((len(freq_TA), 1 << _LONGEST), _BEHIND << 8, np.int64)
    for row, freq_A in zip(entries, freq_TA, strict=True):
        length_A = lengths(freq_A)
        code_A = codes(length_A)
        for symbol in np.flatnonzero(length_A).tolist():
            spare = _LONGEST - int(length_A[symbol])
            first = int(code_A[symbol]) << spare
            row[first : first + (1 << spare)] = symbol | int(length_A[symbol]) << 8
    return entries.ravel()
