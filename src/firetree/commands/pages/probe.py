"""A probe as a heat map of pairs, a table of hosts, and warnings."""

from __future__ import annotations

import math
from html import escape

from firetree.commands.pages import network as network_page
from firetree.commands.text.probe import AT_LEAST, effort
from firetree.network import Network, format_rate
from firetree.probing import Probe

_SCALE = ((239, 138, 98), (253, 192, 150), (247, 233, 205), (171, 208, 230), (103, 169, 207))
"""Red, green and blue at 1, 10, 100, 1000 and 10,000 Mbit/s; black text can be read on each."""
_MOST_NUMBERS, _MOST_HOSTS = 16, 64
"""With more hosts than the first, rates show only under the pointer; with more than the second, not at all."""


def fragment(found: Probe) -> str:
    """The warnings first, then the measurements."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found.warnings)
    look = f'<div class="warn"><ul>{items}</ul></div>' if items else "<p>No host stands out.</p>"
    remark = f"<p><strong>{escape(found.remark)}</strong></p>" if found.remark else ""
    limits = f"<p>{AT_LEAST}</p>" if found.at_least else ""
    return (
        f"<h1>Network of {found.network.size} hosts</h1>{remark}{look}<p>{effort(found)}</p>"
        "<h2>Pairs</h2><p>Rate from a host (row) to another (column) without other traffic, in Mbit/s</p>"
        f"{_heat_map(found.network)}"
        f"<h2>Hosts</h2>{network_page.fragment(found.network, found)}{limits}"
    )


def _heat_map(network: Network) -> str:
    """A table with the same colour for the same rate on every page: red is slow, and blue fast."""
    if network.size > _MOST_HOSTS:
        return f"<p>No map of over {_MOST_HOSTS} hosts.</p>"
    everyone = range(network.size)
    names = [escape(network.name(host)) for host in everyone]
    rates = [[network.rate_alone(a, b) * 8e-6 for b in everyone] for a in everyone]

    def cell(a: int, b: int) -> str:
        if a == b:
            return "<td></td>"
        told = f"{rates[a][b]:.0f}"
        title = f"{names[a]} to {names[b]}: {told} Mbit/s"
        number = told * (network.size <= _MOST_NUMBERS)
        return f'<td style="background:{colour(rates[a][b])}" title="{title}">{number}</td>'

    heading = "".join(f"<th>{name}</th>" for name in ("", *names))
    rows = (
        f"<tr><th>{names[a]}</th>{''.join(cell(a, b) for b in everyone)}</tr>" for a in everyone
    )
    return f"<table><tr>{heading}</tr>{''.join(rows)}</table>{_legend()}"


def colour(rate_mbit_s: float) -> str:
    """The colour of a rate; between those of the scale, in proportion to its logarithm."""
    at = min(max(math.log10(max(rate_mbit_s, 1.0)), 0.0), len(_SCALE) - 1.0)
    lower = min(int(at), len(_SCALE) - 2)
    ends = zip(_SCALE[lower], _SCALE[lower + 1], strict=True)
    return "#" + "".join(f"{round(low + (high - low) * (at - lower)):02x}" for low, high in ends)


def _legend() -> str:
    cells = "".join(
        f'<td style="background:{colour(10.0**power)}">{format_rate(10.0**power * 1e6 / 8)}</td>'
        for power in range(len(_SCALE))
    )
    return f"<table><tr>{cells}</tr></table>"
