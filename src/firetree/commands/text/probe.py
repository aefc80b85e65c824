"""A probe as text: the rate between each pair of hosts, and warnings."""

from __future__ import annotations

from firetree.commands import tables
from firetree.network import Network, format_duration, format_rate
from firetree.probing import Probe

_MOST_COLUMNS = 16


def as_text(found: Probe) -> str:
    """A matrix of rates in Mbit/s from row to column, a line for each rack, and the warnings."""
    network = found.network
    table = _matrix(network) if network.size <= _MOST_COLUMNS else _ports(network)
    lines = [*_racks(network), *(f"warning: {warning}" for warning in found.warnings)]
    return "\n".join([table, *lines, effort(found)])


def effort(found: Probe) -> str:
    """The time and the bytes that the probe took."""
    return f"measured in {found.seconds:.1f} s with {found.sent_bytes / 1e6:,.0f} MB over all links"


def _matrix(network: Network) -> str:
    everyone = range(network.size)
    names = [network.name(host).removeprefix("host ") for host in everyone]
    rows = [
        (
            network.name(a),
            *("-" if a == b else f"{network.rate_alone(a, b) * 8 / 1e6:.0f}" for b in everyone),
            _latency(network, a),
        )
        for a in everyone
    ]
    return tables.as_text(("Mbit/s", *names, "latency"), rows, left=("Mbit/s",))


def _ports(network: Network) -> str:
    rows = [
        (
            network.name(number),
            format_rate(host.up_bytes_s),
            format_rate(host.down_bytes_s),
            _latency(network, number),
        )
        for number, host in enumerate(network.hosts)
    ]
    return tables.as_text(("host", "up", "down", "latency"), rows, left=("host",))


def _latency(network: Network, a: int) -> str:
    usual = sorted(network.latency(a, b) for b in range(network.size) if b != a)
    return format_duration(usual[len(usual) // 2])


def _racks(network: Network) -> list[str]:
    return [
        f"rack {number}: hosts {', '.join(str(host) for host in rack.hosts)}; "
        f"{format_rate(rack.out_bytes_s)} out, {format_rate(rack.in_bytes_s)} in"
        for number, rack in enumerate(network.racks)
    ]
