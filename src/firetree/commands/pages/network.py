"""A network as tables of hosts and racks."""

from __future__ import annotations

from firetree.commands.pages import table
from firetree.commands.text.probe import bound
from firetree.network import Network, format_duration, format_rate
from firetree.probing import Probe

_HEADINGS = ("host", "sends", "receives", "a message", "a byte", "adding a byte", "speed")


def fragment(network: Network, found: Probe | None = None) -> str:
    """The tables; those of a probe with its confidence intervals and lower limits."""
    found = found or Probe(network)

    def rate(rate_bytes_s: float, figure: str) -> str:
        low, high = found.intervals.get(figure, (0.0, 0.0))
        within = f" ({low * 8 / 1e6:.4g} to {high * 8 / 1e6:.4g})" if high else ""
        return bound(found, figure) + format_rate(rate_bytes_s) + within

    hosts = [
        (
            network.name(number),
            rate(host.up_bytes_s, f"{network.name(number)} up"),
            rate(host.down_bytes_s, f"{network.name(number)} down"),
            format_duration(host.message_s),
            f"{host.byte_s * 1e9:.2f} ns",
            f"{host.add_s * 1e9:.2f} ns",
            f"{(host.flops_s or 0) / 1e9:.1f} Gflop/s",
        )
        for number, host in enumerate(network.hosts)
    ]
    racks = [
        (
            ", ".join(network.name(host) for host in rack.hosts),
            rate(rack.out_bytes_s, f"rack {number} out"),
            rate(rack.in_bytes_s, f"rack {number} in"),
        )
        for number, rack in enumerate(network.racks)
    ]
    return table(_HEADINGS, hosts) + (
        table(("hosts that share an uplink", "out", "in"), racks) if racks else ""
    )
