"""What the declaration of a recipe's field says beyond its type: its range, and whether a run keeps it.

`documents` checks the ranges, as it does for all that it reads; whole numbers have theirs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from firetree.documents import Expect
from firetree.own_code import is_own

FIXED = "fixed"
Kind = TypeVar("Kind")
Fixed = Annotated[Kind, FIXED]
"""A field, or a whole table, that a resumed run must have as before: weights or data depend on it, or
the meaning of a step's number."""

AboveZero = Annotated[float, Expect(lambda value: 0 < value < float("inf"), "a number above 0")]
NotNegative = Annotated[float, Expect(lambda value: 0 <= value < float("inf"), "0 or more")]
BelowOne = Annotated[float, Expect(lambda value: 0 <= value < 1, "0 or more and below 1")]
Share = Annotated[float, Expect(lambda value: 0 < value <= 1, "above 0 and at most 1")]
Part = Annotated[float, Expect(lambda value: 0 < value < 1, "above 0 and below 1")]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(it) for key, it in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | float)


OwnName = Annotated[str, Expect(is_own, "code of your own, as in mine:net")]
Arguments = Annotated[
    Mapping[str, Any], Expect(_is_plain, "texts, numbers, lists and tables, as in {width = 64}")
]
