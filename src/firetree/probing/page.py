"""A probe as a page of its own: a heat map of what pairs carry, the hosts, and what to look at.

On its own because the plotting library takes a tenth of a second to import, in every process.
"""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go

from firetree.network import Network, format_duration, format_rate
from firetree.probing.result import Probe
from firetree.probing.text import pair_rate


def as_html(found: Probe) -> str:
    """One HTML file that needs no connection."""
    plot = _heat_map(found.network).to_html(include_plotlyjs=True, full_html=False)
    seconds, sent = f"{found.seconds:.1f} s", f"{found.sent_bytes / 1e6:,.0f} MB"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Network probe</title>'
        f"<style>{_STYLE}</style></head><body>"
        f"<h1>Network of {found.network.size} hosts</h1>"
        f"<p>Measured in {seconds} with {sent} over all links.</p>"
        f"{_warnings(found)}{plot}{_hosts(found)}{_racks(found.network)}</body></html>\n"
    )


_STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "li{margin:.4em 0}.warn{background:#fff4e0;padding:.5em 1em;border-left:4px solid #f58518}"
)


def _heat_map(network: Network) -> go.Figure:
    names = [network.name(host) for host in range(network.size)]
    rates = [
        [None if a == b else pair_rate(network, a, b) * 8 / 1e6 for b in range(network.size)]
        for a in range(network.size)
    ]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=rates,
            colorscale="Viridis",
            zmin=0,
            colorbar={"title": "Mbit/s"},
            texttemplate="%{z:.0f}" if network.size <= 16 else None,
            hovertemplate="%{y} to %{x}: %{z:.1f} Mbit/s<extra></extra>",
        )
    )
    figure.update_layout(
        title="What one host sends to another while nothing else is under way",
        xaxis={"title": "to", "side": "top"},
        yaxis={"title": "from", "autorange": "reversed"},
        margin={"t": 120},
    )
    return figure


def _warnings(found: Probe) -> str:
    if not found.warnings:
        return "<p>Nothing needs a look.</p>"
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found.warnings)
    return f'<div class="warn"><ul>{items}</ul></div>'


def _hosts(found: Probe) -> str:
    network = found.network
    rows = [["host", "sends", "receives", "a message", "a byte", "adding a byte", "speed"]]
    for number, host in enumerate(network.hosts):
        name = network.name(number)
        rows.append(
            [
                name,
                _with_interval(host.up_bytes_s, found, f"{name} up"),
                _with_interval(host.down_bytes_s, found, f"{name} down"),
                format_duration(host.message_s),
                f"{host.byte_s * 1e9:.2f} ns",
                f"{host.add_s * 1e9:.2f} ns",
                f"{(host.flops_s or 0) / 1e9:.1f} Gflop/s",
            ]
        )
    return f"<h2>Hosts</h2>{_table(rows)}"


def _racks(network: Network) -> str:
    if not network.racks:
        return ""
    rows = [["hosts that share an uplink", "out", "in"]]
    for rack in network.racks:
        names = ", ".join(network.name(host) for host in rack.hosts)
        rows.append([names, format_rate(rack.out_bytes_s), format_rate(rack.in_bytes_s)])
    return f"<h2>Shared links</h2>{_table(rows)}"


def _with_interval(rate_bytes_s: float, found: Probe, name: str) -> str:
    low, high = found.intervals.get(name, (rate_bytes_s, rate_bytes_s))
    return f"{format_rate(rate_bytes_s)} ({low * 8 / 1e6:.4g} to {high * 8 / 1e6:.4g})"


def _table(rows: list[list[str]]) -> str:
    heading, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    heading = heading.replace("td>", "th>")
    return f"<table><tr>{heading}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"
