"""The time that no all-reduce can beat on a network, whatever its schedule."""

from __future__ import annotations

from firetree.network.network import Network


def lower_bound_s(network: Network, size_bytes: float) -> float:
    """Seconds that an all-reduce of `size_bytes` over all hosts takes at least, without latency.

    The largest of three: every element has to be sent 2·(p − 1) times over all ports together
    (p − 1 additions and p − 1 copies; Patarasuk and Yuan 2009), each port has to carry the buffer
    once a direction, and so has each uplink. On equal ports that is 2·(p − 1)/p·W/BW.
    """
    hosts = network.hosts
    if hosts == 1:
        return 0.0
    all_ports_s = 2 * (hosts - 1) * size_bytes / sum(network.port_bytes_s)
    slowest_port_s = size_bytes / min(network.port_bytes_s)
    uplink_s = size_bytes / network.uplink_bytes_s if network.uplink_bytes_s else 0.0
    return max(all_ports_s, slowest_port_s, uplink_s)
