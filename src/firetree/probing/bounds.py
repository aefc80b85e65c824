"""Which figures are lower limits: all the rest of the way together could not fill the link."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from firetree.network import Rack
from firetree.network.fair import fair_rates
from firetree.probing.conclude import links_between, port_rates, port_samples, racks_of
from firetree.probing.effort import Link, Pair
from firetree.probing.observations import Observations
from firetree.probing.racks import LIMITED

_FILLED = 0.95
"""A link that carried this part of what the rest allows may carry more."""

_NEAR = 0.7
"""A flow alone on a medium that all share carries this part of what all carry together, or its port is slow."""

Ports = Mapping[int, tuple[float, float]]


def lower_limits(observed: Observations) -> set[Link]:
    """The links that may be faster than measured: `("up", rank)`, or `("out", number of a rack)`.

    On the only way between two hosts or two racks, nobody can tell which end is the limit. Its figures
    are what the way carries, and none counts as a lower limit. Ports that about fill a medium may be faster.
    """
    ports = port_rates(observed)
    if observed.medium:
        near_bytes_s = _NEAR * median(observed.medium)
        return {
            (way, host)
            for host, rates in ports.items()
            for way, rate in zip(("up", "down"), rates, strict=True)
            if rate >= near_bytes_s
        }
    racks = racks_of(observed, ports)
    links, rates = links_between(observed, ports)
    best = rates | dict(_best(observed))

    def may_be_faster(link: Link, trials: Sequence[Sequence[Pair]]) -> bool:
        others = rates | {link: math.inf}
        allowed = [sum(fair_rates([links(*pair) for pair in pairs], others)) for pairs in trials]
        return bool(allowed) and best[link] >= _FILLED * median(allowed)

    ways = dict([*_ways_of_ports(observed, ports), *_ways_of_uplinks(racks, ports)])
    found = {link for link, trials in ways.items() if may_be_faster(link, trials)}
    return found - _only_ways(found, racks, ports)


def _best(observed: Observations) -> Iterator[tuple[Link, float]]:
    """The highest measured rate of each port: load makes some measurements slower, and none faster."""
    for host, (up, down) in port_samples(observed).items():
        yield ("up", host), max(up)
        yield ("down", host), max(down)


def _ways_of_ports(
    observed: Observations, ports: Ports
) -> Iterator[tuple[Link, Sequence[Sequence[Pair]]]]:
    """For each direction of a port, the pairs that filled it together, a list a trial."""
    for host in ports if len(ports) > 2 else ():
        fans = [[it for it in fan if it in ports] for fan in observed.fans.get(host, [])]
        yield ("up", host), [[(host, other) for other in fan] for fan in fans]
        yield ("down", host), [[(other, host) for other in fan] for fan in fans]


def _ways_of_uplinks(
    racks: Sequence[Rack], ports: Ports
) -> Iterator[tuple[Link, Sequence[Sequence[Pair]]]]:
    for number, rack in enumerate(racks):
        pairs = [(a, b) for a in rack.hosts for b in ports if b not in rack.hosts]
        yield ("out", number), [pairs]
        yield ("in", number), [[(b, a) for a, b in pairs]]


def _only_ways(found: set[Link], racks: Sequence[Rack], ports: Ports) -> set[Link]:
    """Both ends of the way between two racks where the hosts' ports at neither end are the limit."""
    ways: set[Link] = set()
    for a, b in ((0, 1), (1, 0)) if len(racks) == 2 else ():
        out_of_ports = sum(ports[host][0] for host in racks[a].hosts)
        into_ports = sum(ports[host][1] for host in racks[b].hosts)
        ends: set[Link] = {("out", a), ("in", b)}
        slowest = min(racks[a].out_bytes_s, racks[b].in_bytes_s)
        if ends <= found and slowest < LIMITED * min(out_of_ports, into_ports):
            ways |= ends
    return ways
