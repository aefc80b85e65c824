"""The two entropy coders of a `.fire`, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from firetree.modelfiles.fire import huffman, rans
from firetree.modelfiles.fire.tables import CodedStream, Ints, Symbols, Tables

CoderName = Literal["rans", "huffman"]


class Decoder(Protocol):
    """Decodes the messages that a coder encoded, in order."""

    def take(self, table_N: Tables, freq_TA: Ints) -> Symbols:
        """symbol_N of the next message."""

    def end(self) -> None:
        """After the last message."""


class Coder(NamedTuple):
    """Encodes into a number of lanes, and decodes them."""

    encode: Callable[[Sequence[CodedStream], int], bytes]
    decoder: Callable[[bytes, int], Decoder]
    most_lanes: int


CODERS: dict[CoderName, Coder] = {
    "rans": Coder(rans.encode, rans.RansDecoder, rans.MOST_LANES),
    "huffman": Coder(huffman.encode, huffman.HuffmanDecoder, huffman.MOST_LANES),
}
