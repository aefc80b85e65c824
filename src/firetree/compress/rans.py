"""A range coder with many lanes side by side: rANS (Duda 2013, arXiv 1311.2540) over numpy.

Symbol n belongs to lane n mod L and is coded with the table that `table_N` names. All lanes of a row
are coded at once, so Python's part is a row's. Each lane's state is a number from 2^16 up to 2^32;
what would leave that range goes to or comes from one common stream of 16-bit words.

Letters in names: N symbols, L lanes, T tables, A symbols of the alphabet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firetree.compress.tables import PRECISION_BITS, TOTAL, Ints, Symbols, Tables
from firetree.errors import UserError

LANES = 512
_LOW = 1 << 16
_SYMBOL_BITS, _FREQ_BITS = 8, PRECISION_BITS + 1


def encode(symbol_N: Ints, table_N: Tables, freq_TA: Ints) -> bytes:
    """The final states of all lanes (uint32), then the words in the decoder's order (uint16).

    Every symbol must have a frequency in its table.
    """
    start_TA = np.cumsum(freq_TA, axis=1) - freq_TA
    freq_N, start_N = freq_TA[table_N, symbol_N], start_TA[table_N, symbol_N]
    state_L = np.full(LANES, _LOW, np.int64)
    words: list[npt.NDArray[np.uint16]] = []
    for begin in reversed(range(0, len(symbol_N), LANES)):
        freq, start = freq_N[begin : begin + LANES], start_N[begin : begin + LANES]
        state = state_L[: len(freq)]
        full = state >= freq << (32 - PRECISION_BITS)
        words.append((state[full] & 0xFFFF).astype("<u2"))
        state[full] >>= 16
        state[:] = (state // freq << PRECISION_BITS) + state % freq + start
    stream = [state_L.astype("<u4").tobytes(), *(row.tobytes() for row in reversed(words))]
    return b"".join(stream)


def decode(content: bytes, table_N: Tables, freq_TA: Ints) -> Symbols:
    """symbol_N of what `encode` gave.

    Raises:
        UserError: the content is not what these tables and this many symbols give.
    """
    if len(content) < 4 * LANES or len(content) % 2:
        raise UserError(f"{len(content)} bytes of codes; expected {4 * LANES} or more, and even")
    state_L = np.frombuffer(content, "<u4", LANES).astype(np.int64)
    words = np.frombuffer(content, "<u2", offset=4 * LANES).astype(np.int64)
    entries = _entries(freq_TA)
    found_N = np.empty(len(table_N), np.uint8)
    place = 0
    for begin in range(0, len(table_N), LANES):
        base = table_N[begin : begin + LANES] << PRECISION_BITS
        state = state_L[: len(base)]
        entry = entries.take((state & (TOTAL - 1)) + base, mode="clip")
        found_N[begin : begin + LANES] = entry  # its lowest byte
        state >>= PRECISION_BITS
        state *= (entry >> _SYMBOL_BITS) & ((1 << _FREQ_BITS) - 1)
        state += entry >> (_SYMBOL_BITS + _FREQ_BITS)
        (low,) = (state < _LOW).nonzero()
        fresh = words[place : place + len(low)]
        if len(fresh) < len(low):
            raise UserError("codes end too early")
        state[low] = (state[low] << 16) | fresh
        place += len(low)
    if place != len(words) or (state_L != _LOW).any():
        raise UserError("codes do not end where they should")
    return found_N


def _entries(freq_TA: Ints) -> Ints:
    """For each value of a state's low bits: symbol, frequency, and place within the frequency."""
    start_TA = np.cumsum(freq_TA, axis=1) - freq_TA
    offset_TA = (freq_TA << _SYMBOL_BITS) - (start_TA << (_SYMBOL_BITS + _FREQ_BITS))
    entry_TA = offset_TA + np.arange(freq_TA.shape[1])
    entries = np.repeat(entry_TA.ravel(), freq_TA.ravel()).reshape(-1, TOTAL)
    entries += np.arange(TOTAL, dtype=np.int64) << (_SYMBOL_BITS + _FREQ_BITS)
    return entries.ravel()
