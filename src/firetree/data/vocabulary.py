"""Text to numbers and back: letters, words, or pieces of words that are learned from texts."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

PADDING, END = 0, 1
"""The symbols after a sequence's end, and at its end."""
_FIRST = 2

SymbolKind = Literal["letters", "words", "pieces"]
Neighbours = tuple[str, str]

_WORD = re.compile(r" ?\w{1,100}| ?[^\w\s]{1,100}")
"""A word or punctuation, with the space before it; no piece crosses its border. Longer words are cut, since
merging takes time with the square of the length."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of one side, each with a number; other characters of a text are left out.

    `letters` are lower-case, and `words` are separated by spaces. `pieces` are letters, and then pairs of
    earlier pieces (byte-pair encoding: Sennrich, Haddow, Birch 2016).
    """

    kind: SymbolKind
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        """One more than the highest number."""
        return _FIRST + len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The numbers of the text's symbols, without an end."""
        match self.kind:
            case "letters":
                return self._known_of(text.lower())
            case "words":
                return self._known_of(text.split())
            case _:
                return [number for word in _words(text) for number in self._encode_word(word)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers from `encode`."""
        symbols = (self.symbols[number - _FIRST] for number in numbers)
        return (" " if self.kind == "words" else "").join(symbols).strip()

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"kind": self.kind, "symbols": list(self.symbols)}

    @staticmethod
    def from_json(document: dict[str, Any]) -> Vocabulary:
        """The vocabulary that `as_json` gave."""
        return Vocabulary(document["kind"], tuple(document["symbols"]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols, _FIRST)}

    @cached_property
    def _encoded_words(self) -> dict[str, list[int]]:
        return {}

    def _known_of(self, symbols: Iterable[str]) -> list[int]:
        return [self._numbers[symbol] for symbol in symbols if symbol in self._numbers]

    def _encode_word(self, word: str) -> list[int]:
        """The word's numbers, after merging its letters by the earliest learned pair first."""
        known = self._encoded_words.get(word)
        if known is not None:
            return known
        return self._encoded_words.setdefault(word, self._known_of(cut_word(word, self._numbers)))


def letters_of(texts: Iterable[str]) -> Vocabulary:
    """All letters of the texts."""
    return Vocabulary("letters", tuple(sorted({c for text in texts for c in text.lower()})))


def words_of(texts: Iterable[str]) -> Vocabulary:
    """All words of the texts."""
    return Vocabulary("words", tuple(sorted({word for text in texts for word in text.split()})))


def pieces_of(texts: Iterable[str], count: int) -> Vocabulary:
    """All letters of the texts, and the pieces that `learn_pieces` makes of them, up to `count` symbols."""
    frequency = Counter(word for text in texts for word in _words(text))
    letters = sorted({letter for word in frequency for letter in word})
    return Vocabulary("pieces", learn_pieces(frequency, letters, count))


def learn_pieces(
    frequency: Mapping[str, int], letters: Iterable[str], count: int
) -> tuple[str, ...]:
    """The letters, then the most frequent pairs of pieces, up to `count` symbols (byte-pair encoding).

    A pair becomes a piece where it occurs at least twice. Of equally frequent pairs, the first in the order
    of letters is taken.

    Args:
        frequency: how often each word occurs; no piece crosses a border of words.
        letters: at least all that the words have.
    """
    words = [list(word) for word in frequency]
    counts = list(frequency.values())
    symbols = dict.fromkeys(letters)
    pairs: Counter[Neighbours] = Counter()
    words_with: defaultdict[Neighbours, set[int]] = defaultdict(set)
    for k, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += counts[k]
            words_with[pair].add(k)
    heap = [(-number, pair) for pair, number in pairs.items()]
    heapq.heapify(heap)
    while len(symbols) < count and heap:
        number, pair = heapq.heappop(heap)
        if -number != pairs[pair]:  # outdated; the heap has the present number too
            continue
        if -number < 2:
            break
        symbols["".join(pair)] = None
        changed: set[Neighbours] = set()
        for k in words_with.pop(pair):
            words[k], gone, come = _merged(words[k], pair)
            for near in gone:
                pairs[near] -= counts[k]
            for near in come:
                pairs[near] += counts[k]
                words_with[near].add(k)
            changed.update(gone, come)
        for near in changed:
            if pairs[near] > 0:
                heapq.heappush(heap, (-pairs[near], near))
    return tuple(symbols)


def cut_word(word: str, numbers: Mapping[str, int]) -> list[str]:
    """The word's pieces: its letters, merged by the earliest learned pair first.

    Args:
        numbers: of the pieces, in the order in which they were learned.
    """
    parts = list(word)
    while len(parts) > 1:
        ranks = [numbers.get(a + b, math.inf) for a, b in pairwise(parts)]
        k = min(range(len(ranks)), key=ranks.__getitem__)
        if ranks[k] == math.inf:
            break
        parts[k : k + 2] = [parts[k] + parts[k + 1]]
    return parts


def _merged(
    parts: Sequence[str], pair: Neighbours
) -> tuple[list[str], list[Neighbours], list[Neighbours]]:
    """A word with each such pair merged to one piece, and the pairs that this removes and adds."""
    whole = "".join(pair)
    result: list[str] = []
    gone, come = [], []
    k = 0
    while k < len(parts):
        if (parts[k], *parts[k + 1 : k + 2]) != pair:
            result.append(parts[k])
            k += 1
            continue
        gone.append(pair)
        if result:
            gone.append((result[-1], parts[k]))
            come.append((result[-1], whole))
        k += 2
        if k < len(parts):
            gone.append((pair[1], parts[k]))
            come.append((whole, parts[k]))
        result.append(whole)
    return result, gone, come


def _words(text: str) -> list[str]:
    return _WORD.findall(" " + " ".join(text.split()))
