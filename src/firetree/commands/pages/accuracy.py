"""A plot of accuracy against time and against bytes, with a curve for each run."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from firetree.bench import AccuracyRun


def fragment(runs: Sequence[AccuracyRun]) -> str:
    """The plot; runs of one recipe and way share a colour and a legend entry."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True)
    names = list(dict.fromkeys(f"{run.recipe}, {run.way}" for run in runs))
    shown: set[str] = set()
    for run in runs:
        name = f"{run.recipe}, {run.way}"
        colour = qualitative.T10[names.index(name) % len(qualitative.T10)]
        accuracy = [100 * point[2] for point in run.curve]
        for column, scale in ((1, 1.0), (2, 1e-6)):
            line = go.Scatter(
                x=[scale * point[column - 1] for point in run.curve],
                y=accuracy,
                name=name,
                legendgroup=name,
                showlegend=column == 1 and name not in shown,
                mode="lines+markers",
                line={"color": colour},
            )
            figure.add_trace(line, 1, column)
        shown.add(name)
    figure.update_xaxes(title="seconds of training", col=1)
    figure.update_xaxes(title="MB sent by all hosts", type="log", col=2)
    figure.update_yaxes(title="test accuracy, %", col=1)
    figure.update_layout(title="Time and bytes to an accuracy")
    return str(figure.to_html(include_plotlyjs=True, full_html=False))
