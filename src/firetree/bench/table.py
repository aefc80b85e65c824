"""Rows of a benchmark as a table for a person, JSON for a program, or a page with a plot."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table

from firetree.bench.allreduce import Row


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
        )
    page = io.StringIO()
    Console(file=page, width=120).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def as_html(rows: Sequence[Row]) -> str:
    """A page of its own: time against size on logarithmic axes, a panel for each world size."""
    world_sizes = sorted({row.world_size for row in rows})
    names = sorted({row.algorithm for row in rows})
    titles = [f"{world_size} ranks" for world_size in world_sizes]
    figure = make_subplots(rows=1, cols=len(world_sizes), subplot_titles=titles, shared_yaxes=True)
    for column, world_size in enumerate(world_sizes, start=1):
        here = sorted(
            (row for row in rows if row.world_size == world_size), key=lambda row: row.size_bytes
        )
        for colour, name in enumerate(names):
            ours = [row for row in here if row.algorithm == name]
            figure.add_trace(_line(name, ours, _COLOURS[colour % len(_COLOURS)], column), 1, column)
        bound = {row.size_bytes: row.bound_s * 1e3 for row in here}
        figure.add_trace(
            go.Scatter(
                x=list(bound),
                y=list(bound.values()),
                name="lower bound",
                line={"dash": "dot", "color": "#888"},
                showlegend=column == 1,
            ),
            1,
            column,
        )
    figure.update_xaxes(type="log", title="bytes")
    figure.update_yaxes(type="log", title="ms", col=1)
    figure.update_layout(title="All-reduce: median time, with the least and the most")
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


_COLOURS = [
    "#4c78a8",
    "#f58518",
    "#54a24b",
    "#e45756",
    "#72b7b2",
    "#b279a2",
    "#ff9da6",
    "#9d755d",
    "#eeca3b",
    "#439894",
    "#83bcb6",
    "#d6a5c9",
]


def _line(name: str, rows: Sequence[Row], colour: str, column: int) -> go.Scatter:
    return go.Scatter(
        x=[row.size_bytes for row in rows],
        y=[row.median_s * 1e3 for row in rows],
        error_y={
            "array": [(row.most_s - row.median_s) * 1e3 for row in rows],
            "arrayminus": [(row.median_s - row.least_s) * 1e3 for row in rows],
            "thickness": 1,
        },
        name=name,
        legendgroup=name,
        showlegend=column == 1,
        mode="lines+markers",
        line={"color": colour},
    )


def format_size(size_bytes: float) -> str:
    """The size in SI units: `5 MB`, `64 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
