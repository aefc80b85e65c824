"""A plot of measured all-reduces."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from firetree.bench import Measurement


def fragment(rows: Sequence[Measurement]) -> str:
    """Time against size on logarithmic axes, a panel for each world size."""
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
                name="optimum",
                line={"dash": "dot", "color": "#888"},
                showlegend=column == 1,
            ),
            1,
            column,
        )
    figure.update_xaxes(type="log", title="bytes")
    figure.update_yaxes(type="log", title="ms", col=1)
    figure.update_layout(title="All-reduce: median time, with the least and the most")
    return str(figure.to_html(include_plotlyjs=True, full_html=False))


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


def _line(name: str, rows: Sequence[Measurement], colour: str, column: int) -> go.Scatter:
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
