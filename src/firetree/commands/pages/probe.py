"""A probe as a heat map of pairs, a table of hosts, and warnings."""

from __future__ import annotations

from html import escape

from firetree.commands.pages import network as network_page
from firetree.commands.text.probe import effort
from firetree.network import Network
from firetree.probing import Probe

_MOST_NUMBERS, _MOST_HOSTS = 16, 64
"""With more hosts than the first, rates show only under the pointer; with more than the second, not at all."""


def fragment(found: Probe) -> str:
    """The warnings first, then the measurements."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found.warnings)
    look = f'<div class="warn"><ul>{items}</ul></div>' if items else "<p>No warnings.</p>"
    return (
        f"<h1>Network of {found.network.size} hosts</h1><p>{effort(found)}</p>{look}"
        "<h2>Pairs</h2><p>Rate from a host (row) to another (column) without other traffic, in Mbit/s</p>"
        f"{_heat_map(found.network)}"
        f"<h2>Hosts</h2>{network_page.fragment(found.network, found.intervals)}"
    )


def _heat_map(network: Network) -> str:
    """A table with darker cells for faster pairs."""
    if network.size > _MOST_HOSTS:
        return f"<p>No map of over {_MOST_HOSTS} hosts.</p>"
    everyone = range(network.size)
    names = [escape(network.name(host)) for host in everyone]
    rates = [[network.rate_alone(a, b) * 8e-6 for b in everyone] for a in everyone]
    most = max(max(row) for row in rates)

    def cell(a: int, b: int) -> str:
        if a == b:
            return "<td></td>"
        told = f"{rates[a][b]:.0f}"
        shade = f"background:rgba(76,120,168,{0.8 * rates[a][b] / most:.2f})"
        title = f"{names[a]} to {names[b]}: {told} Mbit/s"
        return f'<td style="{shade}" title="{title}">{told * (network.size <= _MOST_NUMBERS)}</td>'

    heading = "".join(f"<th>{name}</th>" for name in ("", *names))
    rows = (
        f"<tr><th>{names[a]}</th>{''.join(cell(a, b) for b in everyone)}</tr>" for a in everyone
    )
    return f"<table><tr>{heading}</tr>{''.join(rows)}</table>"
