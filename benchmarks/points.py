"""The points of a table as lines of a CSV file: the fields of a dataclass, read back by their types.

So a table can grow over several sittings.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

Point = TypeVar("Point")


def read(path: Path, kind: type[Point]) -> list[Point]:
    """All points of the file, none where it is not there yet."""
    of = get_type_hints(kind)
    return [kind(**{name: of[name](text) for name, text in row.items()}) for row in rows(path)]


def known_or_made(path: Path, kind: type[Point], cell: Any, make: Callable[[], Point]) -> Point:
    """The point of a cell, a class that `kind` extends: from the file, or else made and appended."""
    for point in read(path, kind):
        if part(point, type(cell)) == cell:
            return point
    made = make()
    add(path, [made])
    return made


def add(path: Path, points: Sequence[Any]) -> None:
    """Append points."""
    add_rows(path, [asdict(point) for point in points])


def rows(path: Path) -> list[dict[str, str]]:
    """The file's lines by their heading, none where it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append lines, with a heading where the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def part(point: Any, kind: type[Point]) -> Point:
    """Of a point the fields of one of the classes that it extends."""
    return kind(**{field.name: getattr(point, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def least(
    points: Iterable[Point], of: Callable[[Point], Hashable], by: Callable[[Point], Any]
) -> dict[Any, Point]:
    """Of the points with the same `of` the one with the least `by`."""
    return {of(point): point for point in sorted(points, key=by, reverse=True)}
