"""A plot of the loss at each learning rate."""

from __future__ import annotations

import plotly.graph_objects as go

from firetree.training import RangeTest


def fragment(found: RangeTest) -> str:
    """The plot."""
    rates = [point.rate for point in found.points]
    figure = go.Figure(
        [
            go.Scatter(x=rates, y=[p.loss for p in found.points], name="loss", opacity=0.4),
            go.Scatter(x=rates, y=[p.smoothed for p in found.points], name="smoothed"),
        ]
    )
    best = found.steepest
    figure.add_vline(x=best, line_dash="dot", annotation_text=f"falls fastest at {best:.2g}")
    figure.update_xaxes(type="log", title="learning rate")
    figure.update_yaxes(title="loss")
    return str(figure.to_html(include_plotlyjs=True, full_html=False))
