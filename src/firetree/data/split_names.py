"""Which part of a data set a file, folder or array is, by its name.

The names are those in use anywhere: `train`, `Training_Set`, `val`, `valid-images`, `dev`, `test2017`,
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
    """A name's split, and its other words in small letters."""

    split: Split
    words: tuple[str, ...]

    @property
    def affix(self) -> tuple[str, ...]:
        """Those words that say more than that these are data."""
        return tuple(word for word in self.words if word not in _FILLERS)


def named(name: str) -> Named | None:
    """What the name says; None where it has no split, or two."""
    words = words_of(name)
    found = [_split(word) for word in words]
    splits = {split for split in found if split is not None}
    if len(splits) != 1:
        return None
    others = tuple(word for word, split in zip(words, found, strict=True) if split is None)
    return Named(splits.pop(), others)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters."""
    return tuple(word.lower() for word in _WORD.findall(name))


def split_of(name: str) -> Split | None:
    """The split that a name says."""
    said = named(name)
    return said and said.split


def tested_on(splits: Collection[Split | None]) -> Split | None:
    """The split to test on while a network is trained: a test split only where no other is held out."""
    return next((split for split in _TESTED_ON if split in splits), None)


def says_nothing(name: str) -> bool:
    """Whether a name says no more than that these are data, as `images`."""
    return all(word in _FILLERS for word in words_of(name))


def _split(word: str) -> Split | None:
    for filler in ("", *_FILLERS):
        if word.endswith(filler) and (split := _WORDS.get(word.removesuffix(filler))):
            return split
    return None
