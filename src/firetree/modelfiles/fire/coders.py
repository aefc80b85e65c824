"""The two entropy coders of a `.fire`, as one kind of thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from firetree.modelfiles.fire import huffman, rans
from firetree.modelfiles.fire.tables import CodedStream, Ints, Symbols, Tables

CoderName = Literal["rans", "huffman"]


class Decoder(Protocol):
    """Takes the messages that a coder encoded, one after the other."""

    def take(self, table_N: Tables, freq_TA: Ints) -> Symbols:
        """symbol_N of the next message."""

    def end(self) -> None:
        """After the last message."""


class Coder(NamedTuple):
    """A way to encode, and to decode the bytes of so many lanes again."""

    encode: Callable[[Sequence[CodedStream], int], bytes]
    decoder: Callable[[bytes, int], Decoder]
    most_lanes: int


CODERS: dict[CoderName, Coder] = {
    "rans": Coder(rans.encode, rans.RansDecoder, rans.MOST_LANES),
    "huffman": Coder(huffman.encode, huffman.HuffmanDecoder, huffman.MOST_LANES),
}
