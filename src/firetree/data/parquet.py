"""Images in parquet files in the layouts of Hugging Face datasets; see `tables` for what is read when."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from firetree.data.arrow_columns import Columns, find_columns
from firetree.data.images import Dataset
from firetree.data.split_files import split_files
from firetree.data.tables import (
    ImageTable,
    RowGroup,
    dataset_of,
    encoded_images,
    features_of,
    table_of,
)
from firetree.foreign import reading


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

    def opened(file: Path) -> ImageTable:
        return _opened(file, image_column, label_column, needs_labels)

    kind = "parquet file"
    return dataset_of(path, split_files(path, (".parquet",), kind), kind, opened, needs_labels)


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, "a whole parquet file", "parquet")


def _opened(
    path: Path, image_column: str | None, label_column: str | None, needs_labels: bool
) -> ImageTable:
    with _reading(path), pq.ParquetFile(path) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        columns = find_columns(schema, path, image_column, label_column, needs_labels)
        groups = [
            RowGroup(
                *_extent(metadata.row_group(number), columns),
                partial(_read_group, path, number, columns, metadata),
            )
            for number in range(metadata.num_row_groups)
        ]
        name = columns.label
        labels = None if name is None else parquet.read(columns=[name])[name]
        return table_of(path, groups, columns, labels, features_of(schema), needs_labels)


def _extent(group: pq.RowGroupMetaData, columns: Columns) -> tuple[int, int]:
    """Its rows, and the bytes of their images."""
    chunks: Sequence[Any] = [group.column(number) for number in range(group.num_columns)]
    sizes = [it.total_uncompressed_size for it in chunks if it.path_in_schema == columns.image_path]
    return group.num_rows, int(sum(sizes))


def _read_group(path: Path, number: int, columns: Columns, metadata: pq.FileMetaData) -> pa.Array:
    with _reading(path), pq.ParquetFile(path, metadata=metadata) as parquet:
        table = parquet.read_row_group(number, columns=[columns.image_path])
        images = encoded_images(table[0], columns).combine_chunks()
        rows = metadata.row_group(number).num_rows
        if len(images) != rows:
            raise ValueError(f"row group {number} has {len(images)} rows of {rows}")
        return images
