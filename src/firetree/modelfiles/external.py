"""Tensors of an ONNX file that lie in a file beside it, as `NAME.onnx.data`."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from firetree.errors import UserError


def read_beside(tensor: Any, path: Path) -> Any:
    """The TensorProto with its bytes in it, which may have been in another file.

    Args:
        path: of the ONNX file. Files that it names are only read from its own folder.

    Raises:
        UserError: a path outside the folder, a link, no such file, or one that is too short.
    """
    from onnx import TensorProto

    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{tensor.name} of {path} lies in '{entries.get('location', '')}'"
    beside = _beside(path.parent, entries.get("location", ""), where)
    whole = TensorProto()
    whole.CopyFrom(tensor)
    whole.ClearField("external_data")
    whole.data_location = TensorProto.DEFAULT
    whole.raw_data = _bytes(beside, entries, size_bytes(tensor), where)
    return whole


def _beside(folder: Path, location: str, where: str) -> Path:
    """The file below the folder."""
    parts = PurePosixPath(location).parts
    outside = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    if not parts or outside or ".." in parts or "\0" in location:
        raise UserError(f"{where}; expected a file in the same folder")
    beside = folder / location
    if any(folder.joinpath(*parts[: k + 1]).is_symlink() for k in range(len(parts))):
        raise UserError(f"{where}, which is a link; expected the file itself in the same folder")
    if not beside.is_file():
        raise UserError(f"{where}, and there is no such file; copy it there too")
    return beside


def _bytes(beside: Path, entries: dict[str, str], needed: int, where: str) -> bytes:
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError as error:
        raise UserError(f"{where} at a place that is damaged: {error}") from error
    if length != needed or offset < 0:
        raise UserError(f"{where}, {length:,} bytes from {offset:,} on; its shape takes {needed:,}")
    try:
        with open(os.open(beside, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            held = os.fstat(file.fileno()).st_size
            if held < offset + needed:
                raise UserError(
                    f"{where}, which has {held:,} bytes; expected {offset + needed:,} or more"
                )
            file.seek(offset)
            return file.read(needed)
    except OSError as error:
        raise UserError(f"{where}, which cannot be read: {error.strerror}") from error


def size_bytes(tensor: Any) -> int:
    """The bytes that a tensor's shape and type take."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)
