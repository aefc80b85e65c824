"""Rows of a benchmark as a table for a person, or JSON for a program; `plot` draws them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from firetree.bench.allreduce import Row
from firetree.bench.step import StepRow


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects with the fields of `Row`."""
    return json.dumps([asdict(row) for row in rows], indent=1)


def as_text(rows: Sequence[Row]) -> str:
    """A table, fastest first within each world size and size."""
    table = Table(box=None, pad_edge=False)
    table.add_column("ranks", justify="right")
    table.add_column("size", justify="right")
    table.add_column("algorithm")
    for heading in ("chunks", "ms", "least to most", "× Gloo", "× bound", "CPU ms"):
        table.add_column(heading, justify="right")
    predicted = any(row.predicted_s is not None for row in rows)
    if predicted:
        table.add_column("predicted ms", justify="right")
    for row in sorted(rows, key=lambda row: (row.world_size, row.size_bytes, row.median_s)):
        table.add_row(
            str(row.world_size),
            format_size(row.size_bytes),
            row.algorithm,
            str(row.chunks),
            f"{row.median_s * 1e3:.2f}",
            f"{row.least_s * 1e3:.2f} to {row.most_s * 1e3:.2f}",
            f"{row.ratio_to_gloo:.2f}",
            f"{row.ratio_to_bound:.2f}",
            f"{row.cpu_s * 1e3:.1f}",
            *([f"{row.predicted_s * 1e3:.2f}" if row.predicted_s else ""] if predicted else []),
        )
    return _printed(table)


def steps_as_text(rows: Sequence[StepRow]) -> str:
    """A table of replayed steps: predicted, measured, and the speed-ups."""
    table = Table(box=None, pad_edge=False)
    for heading in ("hosts", "way", "largest by"):
        table.add_column(heading)
    for heading in ("predicted s", "measured s", "least to most", "off by", "speed-up"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.world_size),
            row.way,
            row.algorithm,
            f"{row.predicted_s:.3f}",
            f"{row.measured_s:.3f}",
            f"{row.least_s:.3f} to {row.most_s:.3f}",
            f"{row.predicted_s / row.measured_s - 1:+.1%}",
            f"{row.speedup:.2f}",
        )
    return _printed(table)


def _printed(table: Table) -> str:
    page = io.StringIO()
    Console(file=page, width=120).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def format_size(size_bytes: float) -> str:
    """The size in SI units: `5 MB`, `64 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
