"""Assign hosts to the ranks of a schedule that was made for equal hosts."""

from __future__ import annotations

from firetree.network.network import Network


def host_order(network: Network) -> tuple[int, ...]:
    """The host for each rank of a schedule: rack by rack, slow hosts last.

    Neighbouring ranks exchange the most, so a rack stays together. The last rank is a leaf of every tree
    and the end of the chain.
    """
    rates = [min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts]
    racks = [rack.hosts for rack in network.racks] or [tuple(range(network.size))]
    slowest_last = sorted(racks, key=lambda rack: -min(rates[host] for host in rack))
    return tuple(host for rack in slowest_last for host in sorted(rack, key=lambda h: -rates[h]))
