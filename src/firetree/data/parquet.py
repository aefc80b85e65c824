"""Pictures in parquet files in the layout of Hugging Face datasets.

A struct column holds the encoded bytes, an integer column the labels. The bytes stay in arrow's
memory as they are; a picture is decoded when it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firetree.data.decoding import DamagedPictureError
from firetree.data.pictures import Dataset, Stored, encoded
from firetree.errors import UserError


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


def _stored(files: list[Path]) -> Stored:
    columns = [_columns(file) for file in files]
    contents = pa.chunked_array(
        [chunk for content, _ in columns for chunk in content.chunks], pa.large_binary()
    )
    labels = np.concatenate([labels for _, labels in columns])
    starts = np.cumsum([0, *(len(labels) for _, labels in columns)])

    def name(index: int) -> str:
        number = int(np.searchsorted(starts, index, side="right")) - 1
        return f"picture {index - starts[number]} of {files[number].name}"

    def content(index: int) -> bytes:
        value: bytes | None = contents[index].as_py()
        if value is None:
            raise DamagedPictureError("the file holds no bytes for it")
        return value

    return encoded(labels, name, content)


def _columns(file: Path) -> tuple[pa.ChunkedArray, npt.NDArray[Any]]:
    """The encoded pictures and the labels of one file."""
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            picture, label = _picture_column(schema, file), _label_column(schema, file)
            table = parquet.read(columns=[picture, label])
        content = pc.struct_field(table[picture], "bytes").cast(pa.large_binary())
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot read {file}: {reason}; expected a whole parquet file") from error
    if table[label].null_count:
        index = int(np.argmax(table[label].is_null().to_numpy()))
        raise UserError(f"picture {index} of {file} has no label; expected an integer")
    return content, table[label].to_numpy()


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
