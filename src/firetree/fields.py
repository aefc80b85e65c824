"""What the declaration of a recipe's field says beyond its type: its range, and whether a run keeps it.

`documents` checks the ranges, as it does for all that it reads; whole numbers have theirs there.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from firetree.documents import Expect

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
