"""A probe as text for a terminal: what each pair of hosts carries, and what to look at."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table as RichTable

from firetree.network import Network, format_duration, format_rate, rack_of
from firetree.probe.result import Probe

_MOST_COLUMNS = 16


def as_text(found: Probe) -> str:
    """A matrix of rates in Mbit/s from row to column, a line a shared link, and the warnings."""
    network = found.network
    page = io.StringIO()
    console = Console(file=page, width=max(80, 14 + 8 * min(network.size, _MOST_COLUMNS)))
    console.print(_matrix(network) if network.size <= _MOST_COLUMNS else _ports(network))
    lines = [*_racks(network), *(f"warning: {warning}" for warning in found.warnings)]
    lines.append(
        f"measured in {found.seconds:.1f} s with {found.sent_bytes / 1e6:,.0f} MB over all links"
    )
    return page.getvalue() + "\n".join(lines)


def pair_rate(network: Network, a: int, b: int) -> float:
    """What host a sends to host b while nothing else is under way, in bytes a second."""
    racks = rack_of(network)
    limits = [network.hosts[a].up_bytes_s, network.hosts[b].down_bytes_s, network.pair_rate(a, b)]
    if racks[a] != racks[b]:
        limits += [network.racks[racks[a]].out_bytes_s, network.racks[racks[b]].in_bytes_s]
    return min(limits)


def _matrix(network: Network) -> RichTable:
    table = RichTable("Mbit/s", box=None, header_style="")
    for b in range(network.size):
        table.add_column(network.name(b).removeprefix("host "), justify="right")
    table.add_column("latency", justify="right")
    for a in range(network.size):
        rates = [
            "-" if a == b else f"{pair_rate(network, a, b) * 8 / 1e6:.0f}"
            for b in range(network.size)
        ]
        table.add_row(network.name(a), *rates, _latency(network, a))
    return table


def _ports(network: Network) -> RichTable:
    table = RichTable("host", box=None, header_style="")
    for name in ("up", "down", "latency"):
        table.add_column(name, justify="right")
    for number, host in enumerate(network.hosts):
        rates = format_rate(host.up_bytes_s), format_rate(host.down_bytes_s)
        table.add_row(network.name(number), *rates, _latency(network, number))
    return table


def _latency(network: Network, a: int) -> str:
    usual = sorted(network.latency(a, b) for b in range(network.size) if b != a)
    return format_duration(usual[len(usual) // 2])


def _racks(network: Network) -> list[str]:
    return [
        f"rack {number}: hosts {', '.join(str(host) for host in rack.hosts)}; "
        f"{format_rate(rack.out_bytes_s)} out, {format_rate(rack.in_bytes_s)} in"
        for number, rack in enumerate(network.racks)
    ]
