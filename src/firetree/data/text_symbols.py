"""Any text as symbols and back: bytes, or pieces of words that are made of bytes.

`vocabulary` learns the pieces; its own symbols leave out what was never seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.vocabulary import cut_word, learn_pieces

BORDER = 0
"""The symbol before and after each text: the byte 0, which no text has."""

BYTES = 256

_WORD = re.compile(
    r" ?[\w\x80-\xff]{1,100}| ?[^\s\w\x80-\xff\0]{1,100}|\s{1,100}(?!\S)|[\s\0]", re.ASCII
)
"""A word or punctuation with the space before it, other blanks, or a border. Every byte is in one, and no piece
crosses from one to the next. Longer words are cut, since merging takes time with the square of the length."""


@dataclass(frozen=True)
class TextSymbols:
    """The 256 bytes by their values, then pieces: pairs of earlier symbols (byte-pair encoding)."""

    pieces: tuple[str, ...] = ()
    """Each as its bytes in Latin-1, so that JSON takes it."""

    def __len__(self) -> int:
        return BYTES + len(self.pieces)

    def encode(self, content: bytes) -> npt.NDArray[Any]:
        """The numbers of the symbols, in the smallest type of unsigned integers that holds them all."""
        if not self.pieces:
            return np.frombuffer(content, np.uint8)
        numbers = chain.from_iterable(map(self._encode_word, _words(content)))
        return np.fromiter(numbers, np.min_scalar_type(len(self) - 1))

    def decode(self, numbers: Iterable[int]) -> bytes:
        """What `encode` was given."""
        return b"".join(map(self._contents.__getitem__, numbers))

    @cached_property
    def _contents(self) -> list[bytes]:
        return [symbol.encode("latin-1") for symbol in self._numbers]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate((*_letters(), *self.pieces))}

    @cached_property
    def _encoded_words(self) -> dict[str, list[int]]:
        return {}

    def _encode_word(self, word: str) -> list[int]:
        known = self._encoded_words.get(word)
        if known is None:
            known = [self._numbers[piece] for piece in cut_word(word, self._numbers)]
            self._encoded_words[word] = known
        return known


def learn_symbols(content: bytes, count: int) -> TextSymbols:
    """The bytes, and the pieces that are most frequent in the content, up to `count` symbols."""
    learned = learn_pieces(Counter(_words(content)), _letters(), count)
    return TextSymbols(learned[BYTES:])


def _letters() -> Iterator[str]:
    """The bytes in Latin-1."""
    return map(chr, range(BYTES))


def _words(content: bytes) -> Iterator[str]:
    return (found[0] for found in _WORD.finditer(content.decode("latin-1")))
