"""Which files of a folder to train on and which to test on: files of many images each, or texts.

A file's name says its split, as in `data/train-00000.parquet`; else a folder's name above it does, as in
`train/0000.parquet`. Of texts the folder comes first, as one may be called `testing.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firetree.data.account import HELD_OUT, but, left_alone
from firetree.data.folders import list_folder
from firetree.data.listing import Listing, Parts, suffix_of
from firetree.data.numbered import remarks_on_numbers
from firetree.data.split_names import Split, named, split_of, tested_on, words_of
from firetree.errors import UserError
from firetree.output import printable


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Files in the order of their names, and what an account says of the others."""

    train: list[Path]
    test: list[Path] = field(default_factory=list)
    test_from: str = HELD_OUT
    passed_over: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()
    """A remark on files that are not read while those of `test` are tested on."""


def split_files(path: Path, suffixes: Sequence[str], kind: str) -> SplitFiles:
    """The files of a folder and below it whose names end in one of `suffixes`; or the one at `path`.

    Where no name says `train`, files whose names say no split are trained on. Validation files are tested
    on, or test files where there are none.

    Raises:
        UserError: no file to train on, or several data sets in one folder.
    """
    if path.is_file():
        return SplitFiles([path])
    listing = list_folder(path)
    by_split: _BySplit = defaultdict(list)
    for parts in _of_kind(listing, suffixes):
        by_split[split_of_path(parts)].append(parts)
    train = by_split.pop("train", None) or by_split.pop(None, [])
    if not train:
        names = ", ".join(
            printable("/".join(parts)) for files in by_split.values() for parts in files
        )
        raise UserError(
            f"{path} holds no {kind} to train on, such as train-*{suffixes[0]}; found "
            f"{names or 'none'}{but(listing.passed_over)}"
        )
    _check_one_data_set(path, train)
    return _with_tests(path, suffixes, kind, listing, train, by_split)


def text_files(path: Path, suffixes: Sequence[str]) -> SplitFiles:
    """The texts of a folder and below it whose names end in one of `suffixes`; or the one at `path`.

    Where some are of `train` by their names, and others of `val` or `test`, these are the splits. Else all
    are trained on.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return SplitFiles([path])
    listing = list_folder(path)
    by_split: _BySplit = defaultdict(list)
    for parts in _of_kind(listing, suffixes):
        by_split[next(filter(None, map(split_of, parts)), None)].append(parts)
    if not by_split:
        raise UserError(
            f"{path} holds no text; expected {' '.join(suffixes)}{but(listing.passed_over)}"
        )
    if "train" not in by_split or not tested_on(by_split):
        every = sorted(parts for files in by_split.values() for parts in files)
        return _with_tests(path, suffixes, "text", listing, every, {})
    return _with_tests(path, suffixes, "text", listing, by_split.pop("train"), by_split)


_BySplit = dict[Split | None, list[Parts]]


def _of_kind(listing: Listing, suffixes: Sequence[str]) -> Iterator[Parts]:
    """The files that end in one of `suffixes` and are not empty, in order; others are passed over."""
    for parts in sorted(listing.files):
        name = parts[-1].lower()
        if listing.files[parts].length == 0:
            listing.passed_over["empty"] += 1
        elif name.endswith(tuple(suffixes)):
            yield parts
        else:
            listing.passed_over[suffix_of(name)] += 1


def _with_tests(
    path: Path,
    suffixes: Sequence[str],
    kind: str,
    listing: Listing,
    train: Sequence[Parts],
    others: _BySplit,
) -> SplitFiles:
    """The files to train on with those to test on, of the others."""
    if None in others:
        listing.passed_over[f"{kind} of no split"] += len(others.pop(None))
    split = tested_on(others)
    test = others.pop(split) if split else []
    return SplitFiles(
        [path.joinpath(*parts) for parts in train],
        [path.joinpath(*parts) for parts in test],
        f"from {_shown(test)}" if test else HELD_OUT,
        dict(listing.passed_over),
        tuple(_remarks(train, suffixes) + _remarks(test, suffixes)),
        tuple(left_alone(_shown(test), _shown(unused)) for unused in others.values()),
    )


def split_of_path(parts: Parts) -> Split | None:
    """The split that a file's name says, or else that of the nearest folder above it."""
    for part in reversed(parts):
        if (split := split_of(part)) is not None:
            return split
    return None


def _remarks(files: Sequence[Parts], suffixes: Sequence[str]) -> list[str]:
    """What else the names say: that a file is partial, or that numbered files are missing."""
    partial = [parts for parts in files if any("partial" in words_of(part) for part in parts)]
    remarks = [f"{_shown(partial)} is only a part of its data set by its name"] if partial else []
    return remarks + remarks_on_numbers(files, suffixes)


def _check_one_data_set(path: Path, train: Sequence[Parts]) -> None:
    """Raise UserError where training files lie in folders whose names differ in more than the split."""
    folders = sorted({tuple(part for part in parts[:-1] if not named(part)) for parts in train})
    if len(folders) > 1:
        names = ", ".join(printable("/".join(folder)) or "." for folder in folders)
        raise UserError(
            f"{path} holds files to train on in {names}; expected one data set, give data.path of it"
        )


def _shown(files: Sequence[Parts]) -> str:
    first = printable("/".join(files[0]))
    return first if len(files) == 1 else f"{first} and {len(files) - 1:,} more"
