"""Pictures in parquet files in the layout of Hugging Face datasets.

A struct column holds the encoded bytes, an integer column the labels. Only labels are read at once;
a picture's bytes come with the row group that it is in, and the groups used last stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firetree.data.account import checksum
from firetree.data.decoding import DamagedPictureError
from firetree.data.pictures import Dataset, Stored, encoded
from firetree.errors import UserError

CACHE_BYTES = 1_000_000_000
"""Row groups of a split that stay in memory, as encoded bytes; two do in any case."""


def read_parquet(path: Path) -> Dataset:
    """A folder with train-*.parquet and perhaps test-* or validation-*, or a single file.

    Raises:
        UserError: no such files, unreadable ones, or columns that are missing or of a wrong type.
    """
    if path.is_file():
        return Dataset(_stored([path]))
    train, test, validation = (
        sorted(path.glob(f"{split}-*.parquet")) for split in ("train", "test", "validation")
    )
    if not train:
        raise UserError(f"{path} holds no train-*.parquet; expected such files or a single file")
    held_out = test or validation
    return Dataset(_stored(train), _stored(held_out) if held_out else None)


class _Group(NamedTuple):
    """A row group: its number in its file, and the file's column with the pictures."""

    file: Path
    number: int
    column: str
    metadata: pq.FileMetaData

    @property
    def size_bytes(self) -> int:
        """Bytes of its pictures, encoded."""
        group = self.metadata.row_group(self.number)
        columns = map(group.column, range(group.num_columns))
        sizes = (c.total_uncompressed_size for c in columns if c.path_in_schema == self.column)
        return int(sum(sizes))

    @property
    def about(self) -> bytes:
        """What a checksum is made of: the row group's number, its rows and the size of its images."""
        rows = self.metadata.row_group(self.number).num_rows
        return f"{self.number} {rows} {self.size_bytes}".encode()

    def read(self) -> pa.Array:
        """The encoded pictures; UserError where the file is damaged."""
        with _explained(self.file), pq.ParquetFile(self.file, metadata=self.metadata) as parquet:
            table = parquet.read_row_group(self.number, columns=[self.column])
            return pc.struct_field(table[0], "bytes").cast(pa.large_binary()).combine_chunks()


def _stored(files: list[Path]) -> Stored:
    opened = [_opened(file) for file in files]
    groups = [group for groups, _ in opened for group in groups]
    rows = [group.metadata.row_group(group.number).num_rows for group in groups]
    group_starts = np.cumsum([0, *rows])
    file_starts = np.cumsum([0, *(len(labels) for _, labels in opened)])
    fitting = CACHE_BYTES // max((group.size_bytes for group in groups), default=1)

    @lru_cache(maxsize=max(2, fitting))
    def read(number: int) -> pa.Array:
        return groups[number].read()

    def name(index: int) -> str:
        number = _place(file_starts, index)
        return f"picture {index - file_starts[number]} of {files[number].name}"

    def content(index: int) -> bytes:
        number = _place(group_starts, index)
        value: bytes | None = read(number)[index - group_starts[number]].as_py()
        if value is None:
            raise DamagedPictureError("the file holds no bytes for it")
        return value

    labels = np.concatenate([labels for _, labels in opened])
    return encoded(labels, name, content, checksum(group.about for group in groups))


def _place(starts: npt.NDArray[np.int64], index: int) -> int:
    """Which of the stretches that begin at `starts` holds this index."""
    return int(np.searchsorted(starts, index, side="right")) - 1


def _opened(file: Path) -> tuple[list[_Group], npt.NDArray[Any]]:
    """The row groups and the labels of one file."""
    with _explained(file), pq.ParquetFile(file) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        picture, label = _picture_column(schema, file), _label_column(schema, file)
        labels = parquet.read(columns=[label])[label]
    if labels.null_count:
        index = int(np.argmax(labels.is_null().to_numpy()))
        raise UserError(f"picture {index} of {file} has no label; expected an integer")
    column = f"{picture}.bytes"
    groups = [_Group(file, n, column, metadata) for n in range(metadata.num_row_groups)]
    return groups, labels.to_numpy()


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what a damaged file raises into a UserError."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot read {file}: {reason}; expected a whole parquet file") from error


def _picture_column(schema: pa.Schema, file: Path) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    chosen = [name for name in found if name in ("img", "image")] or found
    if len(chosen) != 1:
        raise _wrong_columns(schema, file, "one column image: struct<bytes: binary, path: string>")
    return str(chosen[0])


def _label_column(schema: pa.Schema, file: Path) -> str:
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    chosen = ["label"] if "label" in schema.names else integers
    if len(chosen) != 1 or chosen[0] not in integers:
        raise _wrong_columns(schema, file, "a column label: int64")
    return chosen[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    return bool(pa.types.is_binary(inner) or pa.types.is_large_binary(inner))


def _wrong_columns(schema: pa.Schema, file: Path, expected: str) -> UserError:
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    return UserError(f"{file} has the columns {columns}; expected {expected}")
