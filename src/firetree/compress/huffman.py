"""Canonical Huffman codes, as in Deep Compression (Han et al. 2016), in lanes side by side.

Symbol n belongs to lane n mod L, and each lane has a stream of bits of its own, so that numpy decodes
a symbol of every lane at once. A code has 15 bits at most; codes of a length are numbers in a row, in
the order of their symbols, and start with the most significant bit (as in RFC 1951).

Letters in names: N symbols, L lanes, T tables, A symbols of the alphabet.
"""

from __future__ import annotations

import heapq

import numpy as np

from firetree.compress.tables import Ints, Symbols, Tables
from firetree.errors import UserError

LANES = 256
_LONGEST = 15


def lengths(freq_A: Ints) -> Ints:
    """Bits of each symbol's code, 0 for those that do not occur; 1 where there is but one."""
    symbols = np.flatnonzero(freq_A).tolist()
    if len(symbols) == 1:
        return (freq_A > 0).astype(np.int64)
    length_A = np.zeros(len(freq_A), np.int64)
    heap = [(int(freq_A[s]), s, [s]) for s in symbols]
    heapq.heapify(heap)
    while len(heap) > 1:
        (one, order, left), (other, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        length_A[left + right] += 1
        heapq.heappush(heap, (one + other, order, left + right))
    # Flatter frequencies give shorter codes, and end with all of one length.
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


def encode(symbol_N: Ints, table_N: Tables, freq_TA: Ints) -> bytes:
    """The bytes of each lane's stream (uint32 each), then the streams."""
    length_TA = np.stack([lengths(freq_A) for freq_A in freq_TA])
    code_TA = np.stack([codes(length_A) for length_A in length_TA])
    length_N, code_N = length_TA[table_N, symbol_N], code_TA[table_N, symbol_N]
    below = np.arange(_LONGEST - 1, -1, -1)
    streams = []
    for lane in range(LANES):
        length, code = length_N[lane::LANES, None], code_N[lane::LANES, None]
        bits = ((code >> below) & 1)[below < length]
        streams.append(np.packbits(bits.astype(np.uint8)).tobytes())
    sizes = np.array([len(stream) for stream in streams], "<u4").tobytes()
    return b"".join([sizes, *streams])


def decode(content: bytes, table_N: Tables, freq_TA: Ints) -> Symbols:
    """symbol_N of what `encode` gave.

    Raises:
        UserError: the content is not what these tables and this many symbols give.
    """
    if len(content) < 4 * LANES:
        raise UserError(f"{len(content)} bytes of codes; expected {4 * LANES} or more")
    size_L = np.frombuffer(content, "<u4", LANES).astype(np.int64)
    end_L = np.cumsum(size_L) * 8
    if end_L[-1] != 8 * (len(content) - 4 * LANES):
        raise UserError("codes do not end where they should")
    place_L = end_L - 8 * size_L
    data = np.frombuffer(content + bytes(4), np.uint8, offset=4 * LANES).astype(np.int32)
    # 15 bits from any place lie within three bytes.
    windows = (data[:-2] << 16) | (data[1:-1] << 8) | data[2:]
    entries = _entries(freq_TA)
    found_N = np.empty(len(table_N), np.uint8)
    for begin in range(0, len(table_N), LANES):
        base = table_N[begin : begin + LANES] << _LONGEST
        place = place_L[: len(base)]
        window = windows.take(place >> 3, mode="clip")
        peek = (window >> (24 - _LONGEST - (place & 7))) & ((1 << _LONGEST) - 1)
        entry = entries.take(peek + base, mode="clip")
        found_N[begin : begin + LANES] = entry & 255
        place += entry >> 8
    if ((end_L - place_L < 0) | (end_L - place_L > 7)).any():
        raise UserError("codes do not end where they should")
    return found_N


def _entries(freq_TA: Ints) -> Ints:
    """For each value of the next 15 bits: the symbol that they begin with, and its length."""
    entries = np.zeros((len(freq_TA), 1 << _LONGEST), np.int64)
    for row, freq_A in zip(entries, freq_TA, strict=True):
        length_A = lengths(freq_A)
        code_A = codes(length_A)
        for symbol in np.flatnonzero(length_A).tolist():
            spare = _LONGEST - int(length_A[symbol])
            first = int(code_A[symbol]) << spare
            row[first : first + (1 << spare)] = symbol | int(length_A[symbol]) << 8
    return entries.ravel()
