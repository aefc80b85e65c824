"""Images named in a CSV or TSV: a column of paths, one of labels, and perhaps one of splits.

Paths start at the file's folder. Only the text and the images' sizes are read at the start.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from firetree.data.account import HELD_OUT, but, left_alone
from firetree.data.columns import (
    IMAGE_OPTION,
    LABEL_OPTION,
    Sought,
    choose,
    is_key,
    is_label,
    is_like_label,
    remarks_on_image,
    remarks_on_label,
)
from firetree.data.decoding import SUFFIXES
from firetree.data.folders import SIZED
from firetree.data.images import Dataset, Stored, in_files
from firetree.data.labels import labels_of
from firetree.data.listing import StoredFile
from firetree.data.split_names import Split, split_of, tested_on
from firetree.documents import read_text
from firetree.errors import UserError
from firetree.foreign import reading
from firetree.output import printable

_DELIMITERS = ",;\t|"
_TABS = (".tsv", ".tab")
_PATH_NAME = re.compile(r"(?!name$)(?=.)(image|img|picture|photo)?(file)?(path|name)?")
_SPLIT_NAMES = ("split", "set", "subset", "partition", "dataset")
_SAMPLE = 100
"""Cells that show whether a column has paths."""
_NAMED = 3
"""Files that a remark names before it only counts."""
_LONGEST_NAME = 200
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"([+-]?\d{1,18})(\.0*)?")
_LIST = re.compile(r"\[.*\]|.*[;|].*|[+-]?\d+([\s,]+[+-]?\d+)+")


def read_csv(
    path: Path, image_column: str | None = None, label_column: str | None = None
) -> Dataset:
    """Read a table with a header in UTF-8; commas, semicolons, tabs or bars part its cells.

    Labels are whole numbers throughout, or else names. A column `split` has names such as train and val;
    without one a test set is held out. Rows whose file is missing or that lack a cell are passed over.

    Raises:
        UserError: not such a table, columns to be chosen among, several labels an image, or measured
            values for labels.
    """
    table = _table(path, image_column, label_column)
    passed_over: Counter[str] = Counter()
    rows = _distinct(path, _complete(table.rows, passed_over), passed_over)
    _check_labels(path, rows)
    labels = _numbered(path, rows)
    files, missing = _files(path.parent, rows, passed_over)
    parts: defaultdict[Split | None, list[int]] = defaultdict(list)
    for number in files:
        parts[split_of(rows[number].split)].append(number)
    if "train" not in parts:
        example = f", as in {printable(rows[0].file)}" if rows else ""
        raise UserError(
            f"{path} has no image to train on{but(passed_over)}; expected paths that start at its folder"
            f"{example}{', and rows of the split train' if table.split else ''}"
        )

    def stored(split: Split) -> Stored:
        mine = [files[number] for number in parts[split]]
        names = [printable(file.name) for file in mine]
        return in_files(labels_of([labels[n] for n in parts[split]]), names.__getitem__, mine)

    def shown(split: Split) -> str:
        return f"{table.split} {printable(rows[parts[split][0]].split)}"

    tested = tested_on(parts)
    unused = tested == "validation" and "test" in parts
    return Dataset(
        stored("train"),
        stored(tested) if tested else None,
        test_from=f"from {shown(tested)}" if tested else HELD_OUT,
        passed_over=passed_over,
        remarks=(
            *missing,
            *([left_alone(shown("validation"), shown("test"))] if unused else []),
            *table.remarks,
        ),
    )


class _Row(NamedTuple):
    """A line's number, and its cells."""

    line: int
    file: str
    label: str
    split: str


class _Table(NamedTuple):
    """The rows, the name of the column of splits or nothing, and remarks on the columns."""

    rows: list[_Row]
    split: str
    remarks: tuple[str, ...]


class _Column(NamedTuple):
    name: str
    values: Sequence[str]


def _table(path: Path, image_column: str | None, label_column: str | None) -> _Table:
    lines, columns = _columns(path)
    image = choose(_IMAGE, columns, path, image_column)
    if image.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"{path} has no header but starts with {printable(image.name)}; expected names of columns in "
            "its first line, such as path,label"
        )
    others = [column for column in columns if column is not image]
    split = _split_column([column for column in others if column.name != label_column], path)
    label = choose(_LABEL, [column for column in others if column is not split], path, label_column)
    splits = split.values if split else repeat("train")
    cells = zip(lines, image.values, label.values, splits, strict=False)
    remarks = (
        *remarks_on_image(image.name, [it.name for it in others if _has_paths(it)], image_column),
        *remarks_on_label(label.name, label_column),
    )
    return _Table([_Row(*each) for each in cells], split.name if split else "", remarks)


def _columns(path: Path) -> tuple[list[int], list[_Column]]:
    """The number of each line below the header, and the columns."""
    text = read_text(path, "table")
    with reading(path, "a CSV or TSV with a header and a line for each image", "compressed"):
        delimiter = "\t" if path.suffix.lower() in _TABS else _delimiter(text)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
        )
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        if len(rows) < 2:
            raise ValueError("no line follows a header")
        (_, header), *rows = rows
        if len(header) < 2:
            raise ValueError(f"it has the one column {printable(header[0])!r:.80}")
        for line, cells in rows:
            if len(cells) != len(header):
                raise ValueError(
                    f"line {line} has {len(cells)} cells, and the header {len(header)}"
                )
        values = zip(*(cells for _, cells in rows), strict=True)
        return [line for line, _ in rows], list(map(_Column, header, values))


def _delimiter(text: str) -> str:
    """What cuts the header into the most cells."""
    header = io.StringIO(text, newline="").readline()
    return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _split_column(columns: Sequence[_Column], path: Path) -> _Column | None:
    for column in columns:
        if _squashed(column.name) in _SPLIT_NAMES and any(column.values):
            strange = next((text for text in column.values if text and not split_of(text)), None)
            if strange is None:
                return column
            if column.name.lower() == "split":
                raise UserError(
                    f"{path} has the split {printable(strange)!r:.80}; expected train, val or test"
                )
    return None


def _squashed(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _is_named_as_path(column: _Column) -> bool:
    return bool(_PATH_NAME.fullmatch(_squashed(column.name)))


def _has_paths(column: _Column) -> bool:
    some = [value for value in column.values if value][:_SAMPLE]
    return bool(some) and all(value.lower().endswith(SUFFIXES) for value in some)


_IMAGE = Sought[_Column](
    IMAGE_OPTION,
    "one column with the paths of images, such as path",
    (
        lambda column: _is_named_as_path(column) and _has_paths(column),
        _has_paths,
        _is_named_as_path,
    ),
)
_LABEL = Sought[_Column](
    LABEL_OPTION,
    "one column label with each image's class",
    (
        lambda column: is_label(column.name),
        lambda column: is_like_label(column.name),
        lambda column: not is_key(column.name) and not _has_paths(column),
    ),
)


def _complete(rows: Sequence[_Row], passed_over: Counter[str]) -> Iterator[_Row]:
    for row in rows:
        lacking = next(
            (name for name in ("file", "label", "split") if not getattr(row, name)), None
        )
        if lacking:
            passed_over[f"row without a {lacking}"] += 1
        else:
            yield row


def _distinct(path: Path, rows: Iterable[_Row], passed_over: Counter[str]) -> list[_Row]:
    """Each row once; UserError where rows give one file several labels."""
    first: dict[str, _Row] = {}
    distinct: dict[tuple[str, str], _Row] = {}
    for row in rows:
        before = first.setdefault(row.file, row)
        if before.label != row.label:
            raise _several(path, row, f"{before.label} in line {before.line} and {row.label}")
        passed_over["repeated row"] += (row.file, row.split) in distinct
        distinct.setdefault((row.file, row.split), row)
    return list(distinct.values())


def _check_labels(path: Path, rows: Sequence[_Row]) -> None:
    """Raise UserError where a cell lists labels, or is no name; some names have commas: `hen, brood hen`."""
    known = Counter(part for label in {row.label for row in rows} for part in _parts(label))
    for row in rows:
        if len(row.label) > _LONGEST_NAME:
            raise UserError(
                f"the label in line {row.line} of {path} has {len(row.label):,} letters; expected a class's "
                f"name of at most {_LONGEST_NAME}"
            )
        parts = _parts(row.label)
        if _LIST.fullmatch(row.label) or (len(parts) > 1 and all(known[it] > 1 for it in parts)):
            raise _several(path, row, row.label)


def _parts(label: str) -> set[str]:
    return {part.strip() for part in label.split(",")}


def _several(path: Path, row: _Row, labels: str) -> UserError:
    return UserError(
        f"line {row.line} of {path} gives {printable(row.file)} several labels, {printable(labels):.80}; "
        "expected one class for each image"
    )


def _numbered(path: Path, rows: Sequence[_Row]) -> list[int | str]:
    """The rows' labels: numbers if all of them are, else names."""
    if not all(_NUMBER.fullmatch(row.label) for row in rows):
        return [row.label for row in rows]
    whole = [_WHOLE.fullmatch(row.label) for row in rows]
    for row, found in zip(rows, whole, strict=True):
        if found is None:
            raise UserError(
                f"label {row.label:.80} in line {row.line} of {path}; expected whole numbers or names of "
                "classes, as measured values are not learned"
            )
    return [int(found[1]) for found in whole if found]


def _files(
    folder: Path, rows: Sequence[_Row], passed_over: Counter[str]
) -> tuple[dict[int, StoredFile], list[str]]:
    """The files that are there, by the number of their row, and a remark on the others."""
    files: dict[int, StoredFile] = {}
    missing = []
    for number, row in enumerate(rows):
        size = None
        if number < SIZED:
            try:
                status = os.stat(folder / row.file)
            except (OSError, ValueError):
                missing.append(printable(row.file))
                continue
            if not stat.S_ISREG(status.st_mode):
                passed_over["special file"] += 1
                continue
            size = status.st_size
        if size == 0:
            passed_over["empty"] += 1
        else:
            files[number] = StoredFile(row.file, str(folder), None, size)
    if not missing:
        return files, []
    passed_over["missing file"] += len(missing)
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    return files, [f"files that are not there: {', '.join(missing[:_NAMED])}{more}"]
