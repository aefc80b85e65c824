"""A sweep as a table, and a plot of accuracy against size and step time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from firetree.commands.text.sweep import as_text
from firetree.sweeps import Combination, Sweep


def fragment(sweep: Sweep) -> str:
    """The table."""
    return f"<pre>{escape(as_text(sweep.rows))}</pre>"


def plot(rows: Sequence[Combination]) -> str:
    """Accuracy against parameters, with the Pareto front, and against the predicted step."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True)
    for column, axis in ((1, [row.parameters for row in rows]), (2, [row.step_s for row in rows])):
        figure.add_trace(_points(rows, axis), 1, column)
    front = [row for row in rows if row.best]
    line = go.Scatter(
        x=[row.parameters for row in front],
        y=[100 * row.accuracy for row in front],
        mode="lines",
        line={"color": "#888", "dash": "dot"},
    )
    figure.add_trace(line, 1, 1)
    figure.update_xaxes(title="parameters", type="log", col=1)
    figure.update_xaxes(title="predicted step, s", col=2)
    figure.update_yaxes(title="test accuracy, %", col=1)
    figure.update_layout(title="What size buys", showlegend=False)
    return str(figure.to_html(include_plotlyjs=True, full_html=False))


def _points(rows: Sequence[Combination], axis: Sequence[float]) -> go.Scatter:
    percent = [100 * row.accuracy for row in rows]
    return go.Scatter(
        x=list(axis),
        y=percent,
        error_y={
            "array": [100 * max(row.accuracies) - y for row, y in zip(rows, percent, strict=True)],
            "arrayminus": [
                y - 100 * min(row.accuracies) for row, y in zip(rows, percent, strict=True)
            ],
            "thickness": 1,
        },
        text=[
            ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in row.values.items()) for row in rows
        ],
        mode="markers",
        marker={"color": ["#e45756" if row.best else "#4c78a8" for row in rows], "size": 9},
    )
