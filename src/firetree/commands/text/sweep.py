"""A sweep as a table."""

from __future__ import annotations

from collections.abc import Sequence

from firetree.commands import tables
from firetree.network import format_duration
from firetree.sweeps import Combination


def as_text(rows: Sequence[Combination]) -> str:
    """A table of the combinations; fields with one value for all are left out."""
    fields = [field for field in rows[0].values if len({row.values[field] for row in rows}) > 1]
    headings = [field.rpartition(".")[2] for field in fields]
    headings += ["parameters", "MB", "Mflop", "step", "top-1", "least to most", "best for its size"]
    cells = [
        [
            *(row.values[field] for field in fields),
            f"{row.parameters:,}",
            f"{row.weight_bytes / 1e6:.2f}",
            f"{row.flops / 1e6:.1f}",
            format_duration(row.step_s),
            f"{row.accuracy:.2%}",
            f"{min(row.accuracies):.2%} to {max(row.accuracies):.2%}",
            "yes" if row.best else "",
        ]
        for row in rows
    ]
    return tables.as_text(headings, cells, left=headings[: len(fields)])
