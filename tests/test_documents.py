"""A document becomes the dataclass that it describes, or its first fault is named."""

from __future__ import annotations

import gzip
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from firetree import documents
from firetree.documents import (
    Count,
    Printable,
    Seconds,
    from_document,
    parse_json,
    parse_toml,
    read_text,
)
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
        ([], "drawing d: []; expected a table"),
        ({}, "drawing d lacks the field 'points'"),
        ({"points": 3}, "drawing d: points = 3; expected a list"),
        ({"points": [3]}, "drawing d: points[0] = 3; expected a table"),
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


@dataclass(frozen=True)
class Lap:
    number: Count
    taken_s: Seconds
    by: Printable = ""
    pair: tuple[int, str] = (0, "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "lap.json is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "lap.json is not JSON: its values are nested too deeply"),
        (
            f'{{\n"number": {"9" * 5_000}}}',
            "lap.json is not JSON: line 2 has a number of over 4,300 digits",
        ),
        ('{"number": -1, "taken_s": 1}', "lap.json: number = -1; expected 0 or more"),
        (f'{{"number": {10**30}}}', "expected int of at most 64 bits"),
        ('{"number": 1, "taken_s": NaN}', "taken_s = nan; expected seconds from 0 to 1e15"),
        ('{"number": 1, "taken_s": 1e999}', "taken_s = inf; expected seconds from 0 to 1e15"),
        ('{"number": 1, "taken_s": 1, "by": "a\\nb"}', r"by = 'a\nb'; expected printable text"),
        ('{"number": 1, "taken_s": 1, "by": "\\ud800"}', "expected text of UTF-8 without NUL"),
        ('{"number": 1, "taken_s": 1, "pair": [1]}', "pair = [1]; expected a list of 2"),
        ('{"number": 1, "taken_s": 1, "pair": [1, 2]}', "pair[1] = 2; expected str"),
    ],
)
def test_a_value_out_of_range_and_what_is_no_json_are_named(text: str, fault: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_json(Lap, text, "lap.json")
    assert fault in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("number = ", "lap.toml is not TOML: Invalid value (at end of document)"),
        ("number = " + "[" * 100_000, "lap.toml is not TOML: its values are nested too deeply"),
        (
            "number = " + "9" * 5_000,
            "lap.toml is not TOML: line 1 has a number of over 4,300 digits",
        ),
        ("taken_s = 0x" + "f" * 4_000, "taken_s = a number too long to show; expected float"),
    ],
)
def test_what_is_no_toml_is_named(text: str, fault: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_toml(Lap, text, "lap.toml")
    assert fault in str(refusal.value)


def test_only_regular_files_of_bounded_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 1_000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(1_001))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1_001)))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(1_000))[:-9])
    (tmp_path / "right.gz").write_bytes(gzip.compress(b"a" * 1_000))
    assert read_text(tmp_path / "right.gz", "lap") == "a" * 1_000
    for path, fault in (
        (tmp_path, "it is a folder; expected a file"),
        (tmp_path / "pipe", "it is no regular file; expected a file"),
        (tmp_path / "large", "large is too large; expected at most 1,000 bytes"),
        (tmp_path / "bomb.gz", "bomb.gz is too large; expected at most 1,000 bytes"),
        (tmp_path / "cut.gz", "cut.gz cannot be read: Compressed file ended before"),
        (tmp_path / "nothing", "nothing cannot be read: No such file or directory"),
    ):
        with pytest.raises(UserError, match=fault):
            read_text(path, "lap")
