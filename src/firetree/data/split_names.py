"""Tell the split of a file, folder or array from its name.

It knows all common names, such as `train`, `Training_Set`, `val`, `valid-images`, `dev`, `test2017` and
`train-00000-of-00002`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

Split = Literal["train", "validation", "test"]

_WORDS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_TESTED_ON: tuple[Split, ...] = ("validation", "test")
_FILLERS = ("set", "split", "data", "dataset", "images", "image", "imgs", "img", "folder")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


class Named(NamedTuple):
    """A name's split, and its other words in lower case."""

    split: Split
    words: tuple[str, ...]

    @property
    def affix(self) -> tuple[str, ...]:
        """The other words, without fillers such as `images` or `set`."""
        return tuple(word for word in self.words if word not in _FILLERS)


def named(name: str) -> Named | None:
    """The name's split and other words; None where it has no split, or two."""
    split_of_word = {word: _split(word) for word in words_of(name)}
    splits = {split for split in split_of_word.values() if split is not None}
    if len(splits) != 1:
        return None
    others = tuple(word for word in words_of(name) if split_of_word[word] is None)
    return Named(splits.pop(), others)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case."""
    return tuple(word.lower() for word in _WORD.findall(name))


def split_of(name: str) -> Split | None:
    """The split in the name; None where it has no split, or two."""
    words = named(name)
    return words and words.split


def tested_on(splits: Collection[Split | None]) -> Split | None:
    """The split to test on during training: validation, or the test split where there is no other."""
    return next((split for split in _TESTED_ON if split in splits), None)


def says_nothing(name: str) -> bool:
    """Whether the name has only fillers, such as `images`."""
    return all(word in _FILLERS for word in words_of(name))


def _split(word: str) -> Split | None:
    for filler in ("", *_FILLERS):
        if word.endswith(filler) and (split := _WORDS.get(word.removesuffix(filler))):
            return split
    return None
