"""Find the columns of images and labels in the schema of Arrow or parquet: by type, and by `columns`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

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
from firetree.errors import UserError
from firetree.output import printable

_IMAGES = ("image", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")


class Columns(NamedTuple):
    """The names of both columns; with `plain` the images' bytes are the column itself, else in a struct."""

    image: str
    label: str | None
    """None where labels are optional and no column has them."""
    plain: bool
    remarks: tuple[str, ...] = ()

    @property
    def image_path(self) -> str:
        """Parquet's path of the bytes."""
        return self.image if self.plain else f"{self.image}.bytes"


def find_columns(
    schema: pa.Schema,
    path: Path,
    image_column: str | None,
    label_column: str | None,
    needs_labels: bool,
) -> Columns:
    """The requested columns, or else the only possible ones.

    Raises:
        UserError: there are none or several, or a column has a wrong type.
    """
    image = choose(_IMAGE, list(schema), path, image_column)
    if not _holds_bytes(image):
        raise _wrong_type(image, path, "encoded images: binary, or a struct with bytes")
    plain = not pa.types.is_struct(image.type)
    others = [field for field in schema if field.name != image.name]
    try:
        label = choose(_LABEL, others, path, label_column)
        if not _holds_labels(label):
            raise _wrong_type(
                label, path, "one label for each image: a whole number or a class's name"
            )
    except UserError:
        if needs_labels:
            raise
        return Columns(image.name, None, plain)
    remarks = (
        *remarks_on_image(image.name, [it.name for it in others if _holds_bytes(it)], image_column),
        *remarks_on_label(label.name, label_column),
    )
    return Columns(image.name, label.name, plain, remarks)


def _wrong_type(field: pa.Field, path: Path, expected: str) -> UserError:
    several = ", several values an image" if pa.types.is_nested(field.type) else ""
    return UserError(
        f"the column {printable(field.name)} of {path} is {field.type}{several}; expected {expected}"
    )


def _holds_bytes(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    tests = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view
    return any(fits(kind) for fits in tests)


def _holds_labels(field: pa.Field) -> bool:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    numbers = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    texts = pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view
    return any(fits(kind) for fits in (*numbers, *texts))


def _shown(field: pa.Field) -> str:
    return f"{printable(field.name)}: {field.type}"


_IMAGE = Sought[Any](
    IMAGE_OPTION,
    "one column image: struct<bytes: binary, path: string>",
    (
        lambda field: field.name in ("image", "img") and _holds_bytes(field),
        lambda field: field.name.lower() in _IMAGES and _holds_bytes(field),
        _holds_bytes,
    ),
    _shown,
)
_LABEL = Sought[Any](
    LABEL_OPTION,
    "a column label: int64 or string",
    (
        lambda field: is_label(field.name),
        lambda field: is_like_label(field.name),
        lambda field: pa.types.is_integer(field.type) and not is_key(field.name),
        lambda field: (
            _holds_labels(field) and not pa.types.is_floating(field.type) and not is_key(field.name)
        ),
    ),
    _shown,
)
