"""A plot of a pruning scan."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from firetree.deep_compression.scan import DENSITIES, Scan


def fragment(scan: Scan) -> str:
    """KL divergence from the unpruned output, and unchanged predictions, against each layer's density."""
    figure = make_subplots(rows=1, cols=2)
    colours = sample_colorscale(
        "Viridis", [k / max(len(scan.curves) - 1, 1) for k in range(len(scan.curves))]
    )
    for curve, colour in zip(scan.curves, colours, strict=True):
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
    figure.update_yaxes(title="images with the same class, %", col=2)
    figure.update_layout(title=f"What pruning one layer of {scan.network} does")
    return str(figure.to_html(include_plotlyjs=True, full_html=False))
