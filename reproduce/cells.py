"""Tables whose cells are trials: what is in the CSV already is not trained again.

A cell that was cut off goes on where it was, so that a table can grow over several sittings.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path

from page import tell

from firetree.sweeps import SweepTrial, train_all
from firetree.training import load_recipe, with_fields
from points import add_rows, rows

RUNS = Path(__file__).parent.parent / "runs"

Row = dict[str, str]
"""What a cell is, its `error_percent` on the test set (empty where its loss was no number), and the
`cpu_s` of the sitting in which it was done."""


def done(table: Path, cell: Mapping[str, object], recipe: str, values: Mapping[str, object]) -> Row:
    """The cell's row, from the table or else from a run of the recipe with these fields, one thread."""
    wanted = {name: str(value) for name, value in cell.items()}
    for row in rows(table):
        if wanted.items() <= row.items():
            return row
    texts = {field: str(value) for field, value in values.items()}
    trial = SweepTrial("-".join(wanted.values()), texts, with_fields(load_recipe(recipe), texts))
    begun_s = _children_s()
    cores = len(os.sched_getaffinity(0))
    (result,) = train_all([trial], RUNS / table.stem, cores, tell)
    error = "" if result.accuracy is None else f"{100 - 100 * result.accuracy:.3f}"
    row = wanted | {"error_percent": error, "cpu_s": f"{_children_s() - begun_s:.0f}"}
    add_rows(table, [row])
    return row


def error(row: Row) -> str:
    """In % with two digits, for a page."""
    return f"{float(row['error_percent']):.2f}" if row["error_percent"] else "no number"


def _children_s() -> float:
    """Processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
