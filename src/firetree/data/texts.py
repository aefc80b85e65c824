"""Pairs of a source and a target text: a pronouncing dictionary, or lines in two languages.

Letters in names: N all pairs, B pairs of a batch, T symbols.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firetree.data.account import HELD_OUT, Account, checksum
from firetree.data.batches import NO_ANSWER
from firetree.data.folders import list_folder
from firetree.data.listing import Listing, suffix_of
from firetree.data.order import Indices, batches_in_order
from firetree.data.split_files import split_of_path
from firetree.data.vocabulary import (
    END,
    PADDING,
    Vocabulary,
    letters_of,
    pieces_of,
    words_of,
)
from firetree.documents import read_text
from firetree.errors import UserError
from firetree.output import printable

TextPair = tuple[str, str]
"""A source and its target."""

PIECES = 4000
"""Default number of symbols of each language."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Sequences of any length in one array: number n is flat[starts_N[n] : starts_N[n + 1]]."""

    flat: Indices
    starts_N: Indices

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> Ragged:
        """The sequences, each followed by `END`."""
        flat = [number for sequence in sequences for number in (*sequence, END)]
        starts_N = np.cumsum([0, *(len(sequence) + 1 for sequence in sequences)])
        return Ragged(np.array(flat, np.int64), starts_N)

    @property
    def lengths_N(self) -> Indices:
        return np.diff(self.starts_N)

    def padded(self, indices_B: Indices, steps: int) -> Indices:
        """x_BT of those sequences, none longer than `steps`."""
        steps_T = np.arange(steps)
        inside_BT = steps_T < self.lengths_N[indices_B][:, None]
        offset_BT = np.where(inside_BT, self.starts_N[indices_B][:, None] + steps_T, 0)
        return np.where(inside_BT, self.flat[offset_BT], PADDING)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs as numbers, each with an end symbol."""

    sources: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.targets.lengths_N)

    @property
    def lengths_N(self) -> Indices:
        """The lengths of each pair's longer side."""
        return np.maximum(self.sources.lengths_N, self.targets.lengths_N)

    def take(self, indices_B: Indices) -> tuple[Indices, Indices]:
        """x_B2T, the sources and the symbol before each target symbol, and y_BT, the target symbols."""
        steps = int(self.lengths_N[indices_B].max(initial=1))
        y_BT = self.targets.padded(indices_B, steps)
        ends_B1 = np.full((len(indices_B), 1), END)
        before_BT = np.concatenate([ends_B1, y_BT[:, :-1]], 1)
        x_B2T = np.stack([self.sources.padded(indices_B, steps), before_BT], 1)
        return x_B2T, np.where(y_BT == PADDING, NO_ANSWER, y_BT)

    def answers(self, indices_B: Indices) -> int:
        """Symbols of the targets, with their ends."""
        return int(self.targets.lengths_N[indices_B].sum())

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        """Batches of pairs of similar length, in the order of each batch's first pair.

        A random `order_N` gives random batches in a random order.
        """
        by_length_N = np.argsort(self.lengths_N[order_N], kind="stable")
        batches = batches_in_order(by_length_N, batch_size)
        return [order_N[batch_B] for batch_B in sorted(batches, key=lambda batch_B: batch_B[0])]


@dataclass(frozen=True, slots=True)
class TextSplits:
    """What to train on and what to test on, and the symbols of both sides."""

    train: Pairs
    test: Pairs
    test_pairs: tuple[TextPair, ...]
    """The texts of `test`."""
    source: Vocabulary
    target: Vocabulary
    account: Account


def load_phonemes(path: Path, held_out: str, fraction: float, examples: int | None) -> TextSplits:
    """Words and their phonemes, from a file in the layout of the CMU Pronouncing Dictionary.

    A line is `word PH ON EMES`, and `word(2)` is another pronunciation of the same word. A comment starts
    with `#`, or with `;;;` at the start of a line. Stress is left out. A word's letters alone decide whether
    it is held out, with all its pronunciations, so every run holds out the same words.

    Args:
        path: the file, perhaps ending in .gz.
        held_out: `test` is the first `fraction` of all words in the order of a checksum, `validation` the
            next. With `validation`, neither is trained on.
        fraction: of the words.
        examples: train on this many pairs, the first ones; None for all.

    Raises:
        UserError: the file cannot be read, has another layout, or is too small.
    """
    train, test = [], []
    passed_over: Counter[str] = Counter()
    pairs = list(_pronunciations(path, passed_over))
    passed_over["repeated pair"] = len(pairs) - len(set(pairs))
    first = 0.0 if held_out == "test" else fraction
    for pair in dict.fromkeys(pairs):
        rank = _rank(pair[0])
        if first <= rank < first + fraction:
            test.append(pair)
        elif held_out == "test" or rank >= fraction:
            train.append(pair)
        else:
            passed_over["pair held out for the test"] += 1
    sources, targets = letters_of(w for w, _ in train), words_of(p for _, p in train)
    taken = _first(train, examples, passed_over)
    return _splits(taken, test, sources, targets, path, _Read(1, HELD_OUT, passed_over))


def _rank(word: str) -> float:
    """A hash of the word, from 0 to below 1."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest()) / 2**32


def _first(
    pairs: list[TextPair], examples: int | None, passed_over: Counter[str]
) -> list[TextPair]:
    taken = pairs[:examples]
    passed_over["pair beyond data.examples"] += len(pairs) - len(taken)
    return taken


def _pronunciations(path: Path, passed_over: Counter[str]) -> Iterator[TextPair]:
    for number, line in enumerate(_lines(path), 1):
        # Other blanks, such as a no-break space, may be part of a word.
        words = re.findall(r"[^ \t]+", line.partition("#")[0])
        if not words or line.startswith(";;;"):
            passed_over["comment" if line.strip() else "blank line"] += 1
            continue
        word, *phonemes = words
        if not phonemes:
            raise UserError(
                f"line {number} of {path} is '{line}'; expected a word and its phonemes"
            )
        yield (
            re.sub(r"\(\d+\)$", "", word).lower(),
            " ".join(re.sub(r"(?<=[A-Z])[012]$", "", phoneme) for phoneme in phonemes),
        )


def load_translations(
    path: Path,
    languages: tuple[str, str],
    held_out: str,
    pieces: int | None,
    examples: int | None,
) -> TextSplits:
    """Lines in two languages, from a folder of `train.en`, `train.de`, `val.en`, `test.en` and so on.

    The names of files or of their folders say the split (`split_names`). Files may be compressed (`.gz`).
    Line n of one language belongs to line n of the other; pairs with an empty line are left out. Each
    language is encoded in pieces of words, with capitals, learned from its own training lines.

    Args:
        path: the folder.
        languages: of source and target, as in the files' names.
        held_out: `test` or `validation`.
        pieces: symbols of each language; None for 4,000.
        examples: train on this many pairs, the first ones; None for all.

    Raises:
        UserError: a file is missing or cannot be read, or two files of a split differ in length.
    """
    if languages[0] == languages[1]:
        raise UserError(
            f"data.source and data.target are both {languages[0]}; expected two languages"
        )
    listing = list_folder(path)
    passed_over = listing.passed_over
    train_files, test_files = (
        [_file(listing, path, part, language) for language in languages]
        for part in ("train", held_out)
    )
    passed_over.update(suffix_of(parts[-1]) for parts in listing.files)
    train = _first(list(_parallel(train_files, passed_over)), examples, passed_over)
    test = list(_parallel(test_files, passed_over))
    sources, targets = (
        pieces_of((pair[side] for pair in train), pieces or PIECES) for side in (0, 1)
    )
    read = _Read(4, f"from {test_files[0].relative_to(path)}", passed_over)
    return _splits(train, test, sources, targets, path, read)


def _parallel(files: Sequence[Path], passed_over: Counter[str]) -> Iterator[TextPair]:
    sources, targets = (list(_lines(file)) for file in files)
    if len(sources) != len(targets):
        raise UserError(
            f"{files[0]} has {len(sources)} lines and {files[1].name} {len(targets)}; "
            "expected one for each"
        )
    for source, target in zip(sources, targets, strict=True):
        if source.strip() and target.strip():
            yield source.strip(), target.strip()
        else:
            passed_over["pair with a blank line"] += 1


def _file(listing: Listing, folder: Path, split: str, language: str) -> Path:
    """The only file of a split and language; it is removed from the listing."""
    files = [
        parts
        for parts in sorted(listing.files)
        if parts[-1].removesuffix(".gz").endswith(f".{language}") and split_of_path(parts) == split
    ]
    if len(files) != 1:
        names = ", ".join(printable("/".join(parts)) for parts in files) or "none"
        pattern = f"{split.removesuffix('idation')}*.{language}[.gz]"
        raise UserError(f"files {pattern} in {folder}: {names}; expected one")
    del listing.files[files[0]]
    return folder.joinpath(*files[0])


def _lines(path: Path) -> list[str]:
    return split_lines(read_text(path, "file"))


def split_lines(text: str) -> list[str]:
    """The lines of a text with newlines of any system.

    `str.splitlines` also splits at characters that may be within a line, which would misalign two languages.
    """
    *lines, last = re.split(r"\r\n|\r|\n", text)
    return [*lines, last] if last else lines


class _Read(NamedTuple):
    """The fields of an account besides numbers of pairs."""

    files: int
    test_from: str
    passed_over: Counter[str]


def _splits(
    train: Sequence[TextPair],
    test: Sequence[TextPair],
    source: Vocabulary,
    target: Vocabulary,
    path: Path,
    read: _Read,
) -> TextSplits:
    if not train or not test:
        raise UserError(
            f"{path} has {len(train)} pairs to train on and {len(test)} to test on; "
            "expected at least one of each"
        )

    def numbers(pairs: Iterable[TextPair]) -> Pairs:
        sources, targets = zip(*pairs, strict=True)
        return Pairs(
            Ragged.of(list(map(source.encode, sources))),
            Ragged.of(list(map(target.encode, targets))),
        )

    account = Account(
        samples="pairs",
        train=len(train),
        test=len(test),
        test_from=read.test_from,
        files=read.files,
        passed_over=dict(+read.passed_over),
        checksum=checksum(text.encode() for pair in (*train, *test) for text in pair),
    )
    return TextSplits(numbers(train), numbers(test), tuple(test), source, target, account)
