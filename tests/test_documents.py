"""A document becomes the dataclass that it describes, or its first fault is named."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from firetree.documents import from_document
from firetree.errors import UserError


@dataclass(frozen=True)
class Point:
    x: float
    name: str = ""


@dataclass(frozen=True)
class Drawing:
    points: tuple[Point, ...]
    about: dict[str, Any]
    kind: Literal["line", "area"] = "line"
    scale: int | None = None


def test_lists_tables_and_whole_numbers_for_floats_are_taken() -> None:
    document = {"points": [{"x": 1}, {"x": math.inf, "name": "far"}], "about": {}, "scale": 2}
    drawing = from_document(Drawing, document, "drawing d")
    assert drawing == Drawing((Point(1.0), Point(math.inf, "far")), {}, "line", 2)
    assert type(drawing.points[0].x) is float


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "drawing d is a table; got []"),
        ({}, "drawing d lacks the field 'points'"),
        ({"points": 3}, "drawing d: points = 3; expected a list"),
        ({"points": [3]}, "drawing d: 'points[0]' is a table; got 3"),
        ({"points": [{}]}, "drawing d lacks the field 'points[0].x'"),
        ({"points": [{"x": True}]}, "drawing d: points[0].x = True; expected float"),
        ({"points": [{"x": 1 << 1024}]}, "drawing d: points[0].x = 1797"),
        ({"points": [{"x": 1 << 20000}]}, "points[0].x = a number too long to show; expected"),
        ({"points": [], "about": None}, "drawing d: about = None; expected a table"),
        ({"points": [], "about": {}, "kind": "dot"}, "kind = 'dot'; expected 'line', 'area'"),
        ({"points": [], "about": {}, "scale": 1.5}, "scale = 1.5; expected int"),
        ({"pints": []}, "drawing d has no field 'pints'; did you mean 'points'?"),
        ({"points": [{"x": 1, "nam": ""}]}, "no field 'points[0].nam'; did you mean"),
    ],
)
def test_the_first_fault_is_named(document: Any, fault: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_document(Drawing, document, "drawing d")
    assert fault in str(refusal.value)
