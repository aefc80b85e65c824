"""A lower bound on the time of any all-reduce on a network."""

from __future__ import annotations

from firetree.network.network import Network


def lower_bound_s(network: Network, size_bytes: float) -> float:
    """The least seconds that an all-reduce of `size_bytes` over all hosts takes, without latency.

    Each port and each uplink has to carry the buffer once in each direction. Every element also crosses
    ports 2·(p − 1) times: p − 1 additions and p − 1 copies (Patarasuk and Yuan 2009). It crosses the
    uplinks of R racks 2·(R − 1) times. On equal ports the bound is 2·(p − 1)/p·W/BW.
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
