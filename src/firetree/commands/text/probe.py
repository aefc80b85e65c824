"""A probe as text: the rate between each pair of hosts, and warnings."""

from __future__ import annotations

from firetree.commands import tables
from firetree.network import Network, format_duration, format_rate
from firetree.probing import Probe

_MOST_COLUMNS = 16
AT_LEAST = "≥: at least; all the rest of the way together carries no more"


def as_text(found: Probe) -> str:
    """A matrix of rates in Mbit/s from row to column, a line for each rack, and the warnings."""
    table = _matrix(found) if found.network.size <= _MOST_COLUMNS else _ports(found)
    lines = [*_racks(found), *filter(None, [found.remark])]
    if found.at_least:
        lines.insert(0, AT_LEAST)
    lines += [f"warning: {warning}" for warning in found.warnings]
    return "\n".join([table, *lines, effort(found)])


def effort(found: Probe) -> str:
    """The time and the bytes that the probe took."""
    return f"measured in {found.seconds:.1f} s with {found.sent_bytes / 1e6:,.0f} MB over all links"


def bound(found: Probe, figure: str) -> str:
    """The sign before a figure that is a lower limit; nothing before others."""
    return "≥ " if figure in found.at_least else ""


def _matrix(found: Probe) -> str:
    network = found.network
    everyone = range(network.size)
    numbers = [network.name(host).removeprefix("host ") for host in everyone]
    if not all(number.isdecimal() for number in numbers):
        numbers = [*map(str, everyone)]
    rows = [
        (
            network.name(a)
            if network.name(a) == f"host {numbers[a]}"
            else f"{a} {network.name(a)}",
            *("-" if a == b else f"{_mbit(network.rate_alone(a, b))}" for b in everyone),
            bound(found, f"{network.name(a)} up") + _mbit(network.hosts[a].up_bytes_s),
            bound(found, f"{network.name(a)} down") + _mbit(network.hosts[a].down_bytes_s),
            _latency(network, a),
        )
        for a in everyone
    ]
    headings = ("Mbit/s", *numbers, "sends", "receives", "latency")
    return tables.as_text(headings, rows, left=("Mbit/s",))


def _mbit(rate_bytes_s: float) -> str:
    return f"{rate_bytes_s * 8 / 1e6:.0f}"


def _ports(found: Probe) -> str:
    network = found.network
    rows = [
        (
            name := network.name(number),
            bound(found, f"{name} up") + format_rate(host.up_bytes_s),
            bound(found, f"{name} down") + format_rate(host.down_bytes_s),
            _latency(network, number),
        )
        for number, host in enumerate(network.hosts)
    ]
    return tables.as_text(("host", "sends", "receives", "latency"), rows, left=("host",))


def _latency(network: Network, a: int) -> str:
    usual = sorted(network.latency(a, b) for b in range(network.size) if b != a)
    return format_duration(usual[len(usual) // 2])


def _racks(found: Probe) -> list[str]:
    def told(figure: str, rate_bytes_s: float) -> str:
        return "at least " * (figure in found.at_least) + format_rate(rate_bytes_s)

    return [
        f"rack {number}: hosts {', '.join(str(host) for host in rack.hosts)}; "
        f"{told(f'rack {number} out', rack.out_bytes_s)} out, "
        f"{told(f'rack {number} in', rack.in_bytes_s)} in"
        for number, rack in enumerate(found.network.racks)
    ]
