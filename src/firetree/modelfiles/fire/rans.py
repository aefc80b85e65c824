"""A range coder with many lanes side by side: rANS (Duda 2013, arXiv 1311.2540) over numpy.

Symbol n of a message belongs to lane n mod L and is coded with the table that `table_N` names. numpy codes
all lanes of a row at once. Each lane's state is a number from 2^16 up to 2^32. Bits that leave or enter
that range go to or come from one common stream of 16-bit words.

Letters in names: N symbols, L lanes, T tables, A symbols of the alphabet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firetree.errors import UserError
from firetree.modelfiles.fire.tables import (
    PRECISION_BITS,
    TOTAL,
    CodedStream,
    Ints,
    Symbols,
    Tables,
)

MOST_LANES = 1024
_LOW = 1 << 16
_SYMBOL_BITS, _FREQ_BITS = 8, PRECISION_BITS + 1


def encode(messages: Sequence[CodedStream], lanes: int) -> bytes:
    """The final states of all lanes (uint32), then the words in the decoder's order (uint16)."""
    state_L = np.full(lanes, _LOW, np.int64)
    words: list[npt.NDArray[np.uint16]] = []
    for symbol_N, table_N, freq_TA in reversed(messages):
        start_TA = np.cumsum(freq_TA, axis=1) - freq_TA
        freq_N, start_N = freq_TA[table_N, symbol_N], start_TA[table_N, symbol_N]
        for begin in reversed(range(0, len(symbol_N), lanes)):
            freq, start = freq_N[begin : begin + lanes], start_N[begin : begin + lanes]
            state = state_L[: len(freq)]
            full = state >= freq << (32 - PRECISION_BITS)
            words.append((state[full] & 0xFFFF).astype("<u2"))
            state[full] >>= 16
            state[:] = (state // freq << PRECISION_BITS) + state % freq + start
    stream = [state_L.astype("<u4").tobytes(), *(row.tobytes() for row in reversed(words))]
    return b"".join(stream)


class RansDecoder:
    """Decodes the messages that `encode` was given, in order.

    Raises:
        UserError: the content does not have so many lanes, or does not fit the tables.
    """

    def __init__(self, content: bytes, lanes: int) -> None:
        if len(content) < 4 * lanes or len(content) % 2:
            raise UserError(
                f"{len(content)} bytes of codes; expected {4 * lanes} or more, and even"
            )
        self._state_L = np.frombuffer(content, "<u4", lanes).astype(np.int64)
        self._words = np.frombuffer(content, "<u2", offset=4 * lanes).astype(np.int64)
        self._offset = 0

    def take(self, table_N: Tables, freq_TA: Ints) -> Symbols:
        """symbol_N of the next message."""
        entries = _entries(freq_TA)
        symbol_N = np.empty(len(table_N), np.uint8)
        lanes, words, offset = len(self._state_L), self._words, self._offset
        for begin in range(0, len(table_N), lanes):
            base = table_N[begin : begin + lanes] << PRECISION_BITS
            state = self._state_L[: len(base)]
            entry = entries.take((state & (TOTAL - 1)) + base, mode="clip")
            symbol_N[begin : begin + lanes] = entry  # its lowest byte
            state >>= PRECISION_BITS
            state *= (entry >> _SYMBOL_BITS) & ((1 << _FREQ_BITS) - 1)
            state += entry >> (_SYMBOL_BITS + _FREQ_BITS)
            (low,) = (state < _LOW).nonzero()
            fresh = words[offset : offset + len(low)]
            if len(fresh) < len(low):
                raise UserError("codes end too early")
            state[low] = (state[low] << 16) | fresh
            offset += len(low)
        self._offset = offset
        return symbol_N

    def end(self) -> None:
        """After the last message."""
        if self._offset != len(self._words) or (self._state_L != _LOW).any():
            raise UserError("codes do not end where they should")


def _entries(freq_TA: Ints) -> Ints:
    """For each value of a state's low bits: symbol, frequency, and offset within the frequency."""
    start_TA = np.cumsum(freq_TA, axis=1) - freq_TA
    offset_TA = (freq_TA << _SYMBOL_BITS) - (start_TA << (_SYMBOL_BITS + _FREQ_BITS))
    entry_TA = offset_TA + np.arange(freq_TA.shape[1])
    entries = np.repeat(entry_TA.ravel(), freq_TA.ravel()).reshape(-1, TOTAL)
    entries += np.arange(TOTAL, dtype=np.int64) << (_SYMBOL_BITS + _FREQ_BITS)
    return entries.ravel()
