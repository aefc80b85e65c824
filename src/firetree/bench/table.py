"""Rows of a benchmark as a table for a person, or JSON for a program; `plot` draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from firetree import tables
from firetree.bench.allreduce import Row
from firetree.bench.step import StepRow


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects with the fields of `Row`."""
    return json.dumps([asdict(row) for row in rows], indent=1)


def as_text(rows: Sequence[Row]) -> str:
    """A table, fastest first within each world size and size."""
    headings = ["ranks", "size", "algorithm", "chunks", "ms", "least to most"]
    headings += ["× Gloo", "× bound", "CPU ms"]
    predicted = any(row.predicted_s is not None for row in rows)
    ordered = sorted(rows, key=lambda row: (row.world_size, row.size_bytes, row.median_s))
    cells = [_cells(row)[: None if predicted else len(headings)] for row in ordered]
    headings += ["predicted ms"] * predicted
    return tables.as_text(headings, cells, left=("algorithm",))


def _cells(row: Row) -> list[str]:
    return [
        str(row.world_size),
        format_size(row.size_bytes),
        row.algorithm,
        str(row.chunks),
        f"{row.median_s * 1e3:.2f}",
        f"{row.least_s * 1e3:.2f} to {row.most_s * 1e3:.2f}",
        f"{row.ratio_to_gloo:.2f}",
        f"{row.ratio_to_bound:.2f}",
        f"{row.cpu_s * 1e3:.1f}",
        f"{row.predicted_s * 1e3:.2f}" if row.predicted_s else "",
    ]


def steps_as_text(rows: Sequence[StepRow]) -> str:
    """A table of replayed steps: predicted, measured, and the speed-ups."""
    headings = ["hosts", "way", "largest by", "predicted s", "measured s", "least to most"]
    headings += ["off by", "speed-up"]
    cells = [
        (
            str(row.world_size),
            row.way,
            row.algorithm,
            f"{row.predicted_s:.3f}",
            f"{row.measured_s:.3f}",
            f"{row.least_s:.3f} to {row.most_s:.3f}",
            f"{row.predicted_s / row.measured_s - 1:+.1%}",
            f"{row.speedup:.2f}",
        )
        for row in rows
    ]
    return tables.as_text(headings, cells, left=("hosts", "way", "largest by"))


def format_size(size_bytes: float) -> str:
    """The size in SI units: `5 MB`, `64 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
