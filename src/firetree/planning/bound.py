"""The least time of an all-reduce on a network: a bound that takes no time to compute, and the optimum."""

from __future__ import annotations

from firetree.network.network import Network
from firetree.planning.packing import MOST_PACKED, pack


def lower_bound_s(network: Network, size_bytes: float) -> float:
    """The least seconds that an all-reduce of `size_bytes` over all hosts takes, without latency.

    Each port and each uplink has to carry the buffer once in each direction. Every element also crosses
    ports 2·(p − 1) times: p − 1 additions and p − 1 copies (Patarasuk and Yuan 2009). It crosses the
    uplinks of R racks 2·(R − 1) times, and a medium that all share as often as ports. On equal ports the bound is 2·(p − 1)/p·W/BW.
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
    return size_bytes * max(*passages, 2 * (len(hosts) - 1) / network.medium_bytes_s)


def optimum_s(network: Network, size_bytes: float) -> float:
    """The least seconds that an all-reduce along trees takes, without latency and costs of messages.

    That is the time of the fastest packing of trees, for every schedule that sums each chunk along a tree and
    copies it along one; so do all of ours. Beyond `packing.MOST_PACKED` hosts it is the lower bound.
    """
    bound_s = lower_bound_s(network, size_bytes)
    if not 2 <= network.size <= MOST_PACKED:
        return bound_s
    return max(bound_s, size_bytes * pack(network).least_s_byte)
