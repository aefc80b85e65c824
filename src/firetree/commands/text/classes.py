"""What became of each class, as lines: the worst ones, and what they are taken for."""

from __future__ import annotations

from collections.abc import Sequence

from firetree.commands import tables
from firetree.output import printable
from firetree.reporting import ClassReport, Diagnosis

_MOST_CLASSES = 6
_FAR = 0.01
"""The mean of the classes' recalls is told beside the accuracy where it differs by this."""


def worst_first(found: Sequence[ClassReport]) -> list[ClassReport]:
    """Classes with test images, the one with the lowest recall first."""
    tested = [it for it in found if it.total]
    return sorted(tested, key=lambda it: (it.right / it.total, -it.total))


def classes(found: Diagnosis) -> list[str]:
    """The classes with the lowest recall, and what they are taken for."""
    told = worst_first(found.classes)
    if not told:
        return []
    shown = [it for it in told if it.right < it.total][:_MOST_CLASSES]
    if not shown:
        return [f"Each of {len(told)} classes is recognised in all its test images."]
    headings = ("class", "recall", "of", "mostly taken for")
    table = tables.as_text(headings, map(_cells, shown), left=("class", "mostly taken for"))
    more = len(told) - len(shown)
    return [_heading(found), table, *([f"… and {more} classes of more recall"] if more else [])]


def _heading(found: Diagnosis) -> str:
    mean = found.macro_recall
    if mean is None or found.accuracy is None or abs(mean - found.accuracy) < _FAR:
        return "Classes, the least recognised first:"
    return f"Classes, the least recognised first ({mean:.2%} is the mean of all classes' recalls):"


def _cells(it: ClassReport) -> tuple[str, ...]:
    taken = f"{printable(it.taken_for)}, {it.taken} of {it.total}" if it.taken else ""
    return it.name, f"{it.right / it.total:.0%}", f"{it.total}", taken
