"""Images in parquet files in the layouts of Hugging Face datasets.

One column holds the encoded bytes, alone or in a struct; another holds the labels. Only labels are read
at the start. An image's bytes are read with its row group, and the groups used last stay in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firetree.data.account import HELD_OUT, checksum
from firetree.data.damaged import DamagedImageError
from firetree.data.images import Dataset, Stored, encoded
from firetree.data.parquet_columns import Columns, find_columns
from firetree.data.split_files import split_files
from firetree.errors import UserError
from firetree.foreign import reading
from firetree.output import printable

CACHE_BYTES = 1_000_000_000
"""Encoded bytes of a split's row groups that stay in memory; at least two groups always do."""

_NO_LABEL = -1
"""The label of each image in Hugging Face's test sets without labels."""


def read_parquet(
    path: Path,
    image_column: str | None = None,
    label_column: str | None = None,
    needs_labels: bool = True,
) -> Dataset:
    """Read a single file, or a folder of files whose names say what to test on (`split_files`).

    Labels are numbers or names; Hugging Face's metadata may name the numbers. A test set without labels
    is passed over. Without `needs_labels`, images of files without labels get the label −1.

    Raises:
        UserError: no such files, unreadable ones, or columns that are missing, of a wrong type, or to be
            chosen among by `image_column` and `label_column`.
    """
    files = split_files(path, (".parquet",), "parquet file")
    wanted = image_column, label_column, needs_labels
    train, *more = [_opened(file, *wanted) for file in files.train]
    test = [_opened(file, *wanted) for file in files.test]
    names = train.class_names
    more, test = (
        [_in_order(file, names) for file in more],
        [_in_order(file, names) for file in test],
    )
    passed_over = Counter(files.passed_over)
    more, test = _with_rows(more, passed_over), _with_rows(test, passed_over)
    labels = [file.labels for file in test if needs_labels]
    if labels and all(each.dtype.kind == "i" and (each == _NO_LABEL).all() for each in labels):
        passed_over["parquet file without labels"] += len(test)
        test = []
    return Dataset(
        _stored([train, *more]),
        _stored(test) if test else None,
        train.class_names,
        files.test_from if test else HELD_OUT,
        1 + len(more) + len(test),
        passed_over,
        (*files.remarks, *(files.left_alone if test else ()), *train.columns.remarks),
    )


def _in_order(file: _File, names: tuple[str, ...]) -> _File:
    """The file with labels that index `names`, where its own metadata have another order."""
    if not names or file.class_names in ((), names) or file.labels.dtype.kind not in "iu":
        return file
    if unknown := set(file.class_names) - set(names):
        raise UserError(
            f"{file.path} has a class '{min(unknown)}' that the first file to train on has not; "
            f"expected only {', '.join(names[:20])}"
        )
    places_K = np.array([names.index(name) for name in file.class_names])
    known_N = (file.labels >= 0) & (file.labels < len(places_K))
    labels_N = file.labels.astype(np.int64)
    labels_N[known_N] = places_K[labels_N[known_N]]
    return file._replace(labels=labels_N)


def _with_rows(files: list[_File], passed_over: Counter[str]) -> list[_File]:
    with_rows = [file for file in files if len(file.labels)]
    passed_over["parquet file without rows"] += len(files) - len(with_rows)
    return with_rows


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, "a whole parquet file", "parquet")


class _Group(NamedTuple):
    """A row group: its number in its file, the file's column with the images, and their encoded size."""

    file: Path
    number: int
    columns: Columns
    metadata: pq.FileMetaData
    rows: int
    size_bytes: int

    def read(self) -> pa.Array:
        """The encoded images; UserError where the file is damaged."""
        with _reading(self.file), pq.ParquetFile(self.file, metadata=self.metadata) as parquet:
            table = parquet.read_row_group(self.number, columns=[self.columns.image_path])
            column = table[0] if self.columns.plain else pc.struct_field(table[0], "bytes")
            images = column.cast(pa.large_binary()).combine_chunks()
            if len(images) != self.rows:
                raise ValueError(f"row group {self.number} has {len(images)} rows of {self.rows}")
            return images


class _File(NamedTuple):
    """An open file's row groups, labels and, where it has them, the names of its classes."""

    path: Path
    columns: Columns
    groups: list[_Group]
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...]


def _stored(files: list[_File]) -> Stored:
    groups = [group for file in files for group in file.groups]
    group_starts = np.cumsum([0, *(group.rows for group in groups)])
    file_starts = np.cumsum([0, *(len(file.labels) for file in files)])
    fitting = CACHE_BYTES // max([1, *(group.size_bytes for group in groups)])

    @lru_cache(maxsize=max(2, fitting))
    def read(number: int) -> pa.Array:
        return groups[number].read()

    def name(index: int) -> str:
        number = _stretch(file_starts, index)
        return f"image {index - file_starts[number]} of {printable(files[number].path.name)}"

    def content(index: int) -> bytes:
        number = _stretch(group_starts, index)
        value: bytes | None = read(number)[index - group_starts[number]].as_py()
        if value is None:
            raise DamagedImageError("the file holds no bytes for it")
        return value

    labels = np.concatenate([file.labels for file in files])
    about = (f"{group.number} {group.rows} {group.size_bytes}".encode() for group in groups)
    return encoded(labels, name, content, checksum(about))


def _stretch(starts: npt.NDArray[np.int64], index: int) -> int:
    """The stretch that holds this index, of those that begin at `starts`."""
    return int(np.searchsorted(starts, index, side="right")) - 1


def _opened(
    path: Path, image_column: str | None, label_column: str | None, needs_labels: bool
) -> _File:
    with _reading(path), pq.ParquetFile(path) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        columns = find_columns(schema, path, image_column, label_column, needs_labels)
        groups = [
            _Group(path, number, columns, metadata, *_extent(metadata.row_group(number), columns))
            for number in range(metadata.num_row_groups)
        ]
        name = columns.label
        labels = None if name is None else parquet.read(columns=[name])[name]
        if name is None or labels is None or (labels.null_count and not needs_labels):
            return _File(path, columns, groups, np.full(metadata.num_rows, _NO_LABEL), ())
        if labels.null_count:
            index = int(np.argmax(labels.is_null().to_numpy()))
            raise UserError(f"image {index} of {path} has no label; expected one")
        if sum(group.rows for group in groups) != len(labels):
            raise ValueError(f"{len(labels)} labels, and row groups of other numbers of rows")
        if pa.types.is_dictionary(labels.type):
            labels = labels.cast(labels.type.value_type)
        return _File(path, columns, groups, labels.to_numpy(), _class_names(schema, name))


def _extent(group: pq.RowGroupMetaData, columns: Columns) -> tuple[int, int]:
    """Its rows, and the bytes of their images."""
    chunks: Sequence[Any] = [group.column(number) for number in range(group.num_columns)]
    sizes = [it.total_uncompressed_size for it in chunks if it.path_in_schema == columns.image_path]
    return group.num_rows, int(sum(sizes))


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a ClassLabel in Hugging Face's metadata; none where there is nothing of the kind."""
    try:
        document = json.loads((schema.metadata or {})[b"huggingface"])
        names = document["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(map(printable, names)) if fits else ()
