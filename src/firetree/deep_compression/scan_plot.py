"""A scan as a page with a plot; on its own because the plotting library is slow to import."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from firetree.deep_compression.scan import DENSITIES, Curve


def as_html(curves: Sequence[Curve]) -> str:
    """Distance from the unpruned answer, and answers that stay, by the layer's density."""
    figure = make_subplots(rows=1, cols=2)
    colours = sample_colorscale(
        "Viridis", [k / max(len(curves) - 1, 1) for k in range(len(curves))]
    )
    for curve, colour in zip(curves, colours, strict=True):
        panels = (curve.nats, [100 * share for share in curve.agreement])
        for column, values in enumerate(panels, start=1):
            line = go.Scatter(
                x=[100 * density for density in DENSITIES],
                y=list(values),
                name=curve.name,
                legendgroup=curve.name,
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": colour},
            )
            figure.add_trace(line, 1, column)
    figure.update_xaxes(title="density of that layer, %")
    figure.update_yaxes(title="nats from the unpruned answer", type="log", col=1)
    figure.update_yaxes(title="pictures with the same class, %", col=2)
    figure.update_layout(title="What pruning one layer does")
    return str(figure.to_html(include_plotlyjs=True, full_html=True))
