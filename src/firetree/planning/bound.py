"""The time that no all-reduce can beat on a network, whatever its schedule."""

from __future__ import annotations

from firetree.network.network import Network


def lower_bound_s(network: Network, size_bytes: float) -> float:
    """Seconds that an all-reduce of `size_bytes` over all hosts takes at least, without latency.

    From the network's cuts: each port and each uplink has to carry the buffer once a direction. And
    from what is sent in all: every element travels 2·(p − 1) times over ports (p − 1 additions and
    p − 1 copies; Patarasuk and Yuan 2009), 2·(R − 1) times over the uplinks of R racks. On equal ports
    that is 2·(p − 1)/p·W/BW.
    """
    hosts, racks = network.hosts, network.racks
    if network.size == 1:
        return 0.0
    links = [
        ([host.up_bytes_s for host in hosts]),
        ([host.down_bytes_s for host in hosts]),
        ([rack.out_bytes_s for rack in racks]),
        ([rack.in_bytes_s for rack in racks]),
    ]
    passages = [max(1 / min(rates), 2 * (len(rates) - 1) / sum(rates)) for rates in links if rates]
    return size_bytes * max(passages)
