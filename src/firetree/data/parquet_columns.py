"""Find a parquet file's columns of images and labels: the requested ones, or by name and type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from firetree.errors import UserError
from firetree.output import printable

_IMAGES = ("image", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_LABELS = ("labels", "class", "target", "targets", "category", "y")

Test = Callable[[pa.Field], bool]


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


class _Sought(NamedTuple):
    """A column to find: the option that names it, what is expected, and tests of its field.

    The first test that any field passes decides.
    """

    option: str
    expected: str
    tests: tuple[Test, ...]


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
    image = _column(_IMAGE, list(schema), path, image_column)
    if not _holds_bytes(image):
        raise _wrong_type(image, path, "encoded images: binary, or a struct with bytes")
    plain = not pa.types.is_struct(image.type)
    others = [field for field in schema if field.name != image.name]
    try:
        label = _column(_LABEL, others, path, label_column)
        if not _holds_labels(label):
            raise _wrong_type(
                label, path, "one label for each image: a whole number or a class's name"
            )
    except UserError:
        if needs_labels:
            raise
        return Columns(image.name, None, plain)
    assumed = label_column is None and not (_is_label(label) or _is_like_label(label))
    remark = f"labels are those of the column {printable(label.name)} (data.label_column)"
    return Columns(image.name, label.name, plain, (remark,) if assumed else ())


def _column(
    sought: _Sought, fields: Sequence[pa.Field], path: Path, wanted: str | None
) -> pa.Field:
    if wanted is not None:
        fitting = [field for field in fields if field.name == wanted]
    else:
        passing = ([field for field in fields if test(field)] for test in sought.tests)
        fitting = next((some for some in passing if some), [])
    if len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(f"{printable(field.name)}: {field.type}" for field in fields)
    which = f"{sought.option} = {wanted}" if wanted else sought.expected
    names = ", ".join(printable(field.name) for field in fitting)
    hint = f"; choose by {sought.option} among {names}" if fitting else ""
    raise UserError(f"{path} has the columns {columns}; expected {which}{hint}")


def _wrong_type(field: pa.Field, path: Path, expected: str) -> UserError:
    return UserError(
        f"the column {printable(field.name)} of {path} is {field.type}; expected {expected}"
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


def _is_label(field: pa.Field) -> bool:
    return bool(field.name.lower() == "label")


def _is_like_label(field: pa.Field) -> bool:
    name = field.name.lower()
    return name in _LABELS or name.endswith(("label", "labels", "class"))


def _is_key(field: pa.Field) -> bool:
    """Whether its name says that it numbers the images, as `image_id` does."""
    return bool(_KEY.fullmatch(field.name.lower()))


_KEY = re.compile(
    r"((image|img|file|sample|row|example|__index_level)_?)?(id|idx|index|uid|uuid|\d+__)"
)

_IMAGE = _Sought(
    "data.image_column",
    "one column image: struct<bytes: binary, path: string>",
    (
        lambda field: field.name in ("image", "img") and _holds_bytes(field),
        lambda field: field.name.lower() in _IMAGES and _holds_bytes(field),
        _holds_bytes,
    ),
)
_LABEL = _Sought(
    "data.label_column",
    "a column label: int64 or string",
    (
        _is_label,
        _is_like_label,
        lambda field: pa.types.is_integer(field.type) and not _is_key(field),
        lambda field: (
            _holds_labels(field) and not pa.types.is_floating(field.type) and not _is_key(field)
        ),
    ),
)
