"""Images with labels in Arrow's columns, from whatever files: those of `parquet` and of `arrow_files`.

One column holds the encoded bytes, alone or in a struct; another holds the labels. Only labels are read
at the start. An image's bytes are read with its group, and the groups used last stay in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from firetree.data.account import HELD_OUT, checksum
from firetree.data.arrow_columns import Columns
from firetree.data.damaged import DamagedImageError
from firetree.data.images import Dataset, Stored, encoded
from firetree.data.order import Indices
from firetree.data.split_files import SplitFiles
from firetree.errors import UserError
from firetree.output import printable

CACHE_BYTES = 1_000_000_000
"""Encoded bytes of a split's groups that stay in memory; at least two groups always do."""

_NO_LABEL = -1
"""The label of each image in Hugging Face's test sets without labels."""


class RowGroup(NamedTuple):
    """Rows that are read together."""

    rows: int
    size_bytes: int
    read: Callable[[], pa.Array]
    """Their images, by `encoded_images`; UserError where the file is damaged."""
    sizes_N: Indices | None = None
    """Bytes of each, where that is known before they are read."""


class ImageTable(NamedTuple):
    """A file's groups, labels and, where it has them, the names of its classes."""

    path: Path
    groups: Sequence[RowGroup]
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...]


def table_of(
    path: Path,
    groups: Sequence[RowGroup],
    columns: Columns,
    labels: pa.ChunkedArray | None,
    features: Any,
    needs_labels: bool,
) -> ImageTable:
    """The table of a file.

    Args:
        labels: the column of labels; None where there is none.
        features: Hugging Face's description of the columns, which may name the classes.

    Raises:
        UserError: a label is missing.
        ValueError: there are other numbers of labels than of images.
    """
    count = sum(group.rows for group in groups)
    if labels is None or (labels.null_count and not needs_labels):
        return ImageTable(path, groups, np.full(count, _NO_LABEL), (), columns.remarks)
    if labels.null_count:
        index = int(np.argmax(labels.is_null().to_numpy()))
        raise UserError(f"image {index} of {path} has no label; expected one")
    if count != len(labels):
        raise ValueError(f"{len(labels)} labels and {count} images")
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    names = _class_names(features, columns.label)
    return ImageTable(path, groups, labels.to_numpy(), names, columns.remarks)


def encoded_images(column: pa.Array, columns: Columns) -> pa.Array:
    """The bytes of a column's images."""
    images = column if columns.plain else pc.struct_field(column, "bytes")
    return images.cast(pa.large_binary())


def features_of(schema: pa.Schema) -> Any:
    """Hugging Face's description of the columns in a schema; None where there is none."""
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _class_names(features: Any, column: str | None) -> tuple[str, ...]:
    """The names of a ClassLabel; none where there is nothing of the kind."""
    try:
        names = features[column]["names"]
    except (KeyError, TypeError):
        return ()
    fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(map(printable, names)) if fits else ()


def dataset_of(
    root: Path,
    files: SplitFiles,
    kind: str,
    opened: Callable[[Path], ImageTable],
    needs_labels: bool = True,
) -> Dataset:
    """The images of all files. A test set without labels is passed over.

    Args:
        root: the file or folder that the user gave.
        kind: as in `parquet file`.
        opened: reads a file's labels.

    Raises:
        UserError: as `opened`, or classes that the first file to train on does not name.
    """
    train, *more = [opened(path) for path in files.train]
    test = [opened(path) for path in files.test]
    names = train.class_names
    more, test = (
        [_in_order(table, names) for table in more],
        [_in_order(table, names) for table in test],
    )
    passed_over = Counter(files.passed_over)
    more, test = _with_rows(more, kind, passed_over), _with_rows(test, kind, passed_over)
    labels = [table.labels for table in test if needs_labels]
    if labels and all(each.dtype.kind == "i" and (each == _NO_LABEL).all() for each in labels):
        passed_over[f"{kind} without labels"] += len(test)
        test = []
    return Dataset(
        _stored(root, [train, *more]),
        _stored(root, test) if test else None,
        train.class_names,
        files.test_from if test else HELD_OUT,
        1 + len(more) + len(test),
        passed_over,
        (*files.remarks, *(files.left_alone if test else ()), *train.remarks),
    )


def _in_order(table: ImageTable, names: tuple[str, ...]) -> ImageTable:
    """The table with labels that index `names`, where its own metadata have another order."""
    if not names or table.class_names in ((), names) or table.labels.dtype.kind not in "iu":
        return table
    if unknown := set(table.class_names) - set(names):
        raise UserError(
            f"{table.path} has a class '{min(unknown)}' that the first file to train on has not; "
            f"expected only {', '.join(names[:20])}"
        )
    places_K = np.array([names.index(name) for name in table.class_names])
    known_N = (table.labels >= 0) & (table.labels < len(places_K))
    labels_N = table.labels.astype(np.int64)
    labels_N[known_N] = places_K[labels_N[known_N]]
    return table._replace(labels=labels_N)


def _with_rows(tables: list[ImageTable], kind: str, passed_over: Counter[str]) -> list[ImageTable]:
    with_rows = [table for table in tables if len(table.labels)]
    passed_over[f"{kind} without rows"] += len(tables) - len(with_rows)
    return with_rows


def _stored(root: Path, tables: list[ImageTable]) -> Stored:
    groups = [group for table in tables for group in table.groups]
    group_starts = np.cumsum([0, *(group.rows for group in groups)])
    table_starts = np.cumsum([0, *(len(table.labels) for table in tables)])
    fitting = CACHE_BYTES // max([1, *(group.size_bytes for group in groups)])

    @lru_cache(maxsize=max(2, fitting))
    def read(number: int) -> pa.Array:
        return groups[number].read()

    def name(index: int) -> str:
        number = _stretch(table_starts, index)
        path = tables[number].path
        shown = path.name if path == root else str(path.relative_to(root))
        return f"image {index - table_starts[number]} of {printable(shown)}"

    def content(index: int) -> bytes:
        number = _stretch(group_starts, index)
        value: bytes | None = read(number)[index - group_starts[number]].as_py()
        if value is None:
            raise DamagedImageError("the file holds no bytes for it")
        return value

    sizes = [group.sizes_N for group in groups if group.sizes_N is not None]
    return encoded(
        np.concatenate([table.labels for table in tables]),
        name,
        content,
        checksum(f"{group.rows} {group.size_bytes}".encode() for group in groups),
        sizes_N=np.concatenate(sizes) if groups and len(sizes) == len(groups) else None,
        size_bytes=sum(group.size_bytes for group in groups),
    )


def _stretch(starts: npt.NDArray[np.int64], index: int) -> int:
    """The stretch that holds this index, of those that begin at `starts`."""
    return int(np.searchsorted(starts, index, side="right")) - 1
