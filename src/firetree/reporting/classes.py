"""What became of each class, from a run's confusion.json."""

from __future__ import annotations

from firetree.confusion import Confusion
from firetree.reporting.values import ClassReport


def class_reports(names: tuple[str, ...], found: Confusion) -> tuple[ClassReport, ...]:
    """A report for each class, in the data's order."""
    taken: dict[int, tuple[int, int]] = {}
    for label, other, count in found.confused:  # the most frequent first
        taken.setdefault(label, (other, count))
    reports = []
    for label, (name, right, total) in enumerate(zip(names, found.right, found.total, strict=True)):
        other, count = taken.get(label, (label, 0))
        reports.append(ClassReport(name, right, total, names[other] if count else "", count))
    return tuple(reports)
