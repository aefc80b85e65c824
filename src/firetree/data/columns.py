"""Choose a column of images or of labels in a table: the requested one, or the only one that can be it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from firetree.errors import UserError
from firetree.output import printable

IMAGE_OPTION, LABEL_OPTION = "data.image_column", "data.label_column"
_LABELS = ("labels", "class", "class_name", "label_name", "target", "targets", "category", "y")
_KEY = re.compile(
    r"((image|img|file|sample|row|example|__index_level)_?)?(id|idx|index|uid|uuid|\d+__)"
)


class NamedColumn(Protocol):
    """A column of any table."""

    @property
    def name(self) -> str: ...


Column = TypeVar("Column", bound=NamedColumn)


@dataclass(frozen=True)
class Sought(Generic[Column]):
    """A column to find: the option that names it, what is expected, and tests of it.

    The first test that any column passes decides.
    """

    option: str
    expected: str
    tests: tuple[Callable[[Column], bool], ...]
    shown: Callable[[Column], str] = lambda column: printable(column.name)
    """A column in a message."""


def choose(
    sought: Sought[Column], columns: Sequence[Column], path: Path, wanted: str | None
) -> Column:
    """The wanted column, or else the only possible one.

    Raises:
        UserError: there is none, or several.
    """
    if wanted is not None:
        fitting = [column for column in columns if column.name == wanted]
    else:
        passing = ([column for column in columns if test(column)] for test in sought.tests)
        fitting = next((some for some in passing if some), [])
    if len(fitting) == 1:
        return fitting[0]
    which = f"{sought.option} = {wanted}" if wanted else sought.expected
    names = ", ".join(printable(column.name) for column in fitting)
    hint = f"; choose by {sought.option} among {names}" if fitting else ""
    raise UserError(
        f"{path} has the columns {', '.join(map(sought.shown, columns))}; expected {which}{hint}"
    )


def remarks_on_image(name: str, others: Sequence[str], wanted: str | None) -> tuple[str, ...]:
    """That other columns hold images too, where one was taken for its name."""
    if wanted is not None or not others:
        return ()
    names = ", ".join(map(printable, others))
    return (f"images are those of the column {printable(name)}, not of {names} ({IMAGE_OPTION})",)


def remarks_on_label(name: str, wanted: str | None) -> tuple[str, ...]:
    """That a column was taken for the labels though its name does not say so."""
    if wanted is not None or is_label(name) or is_like_label(name):
        return ()
    return (f"labels are those of the column {printable(name)} ({LABEL_OPTION})",)


def is_label(name: str) -> bool:
    """Whether this is what a column of labels is usually called."""
    return name.lower() == "label"


def is_like_label(name: str) -> bool:
    """Whether a column of labels may be called so."""
    return name.lower() in _LABELS or name.lower().endswith(("label", "labels", "class"))


def is_key(name: str) -> bool:
    """Whether the name says that the column numbers the images, as `image_id` does; or it has none."""
    return not name or bool(_KEY.fullmatch(name.lower()))
