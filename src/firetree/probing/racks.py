"""Which hosts share a link, inferred from how flows between pairs of hosts slow each other.

A rack's uplink never slows flows between its own hosts, and slows all their flows to other hosts alike.
That suggests groups, and `survey` tries each one: only a group that together sends less than its ports
carry has a shared link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from firetree.probing.effort import Pair

Group = tuple[int, ...]

_SLOWED = 0.07
"""A flow counts as slowed when it lacks more than this part of its rate."""
_LEAST_SHORTFALL = 0.05
"""Flows between groups lack at least this much more than flows within them, on average."""
LIMITED = 0.9
"""A group has a limit of its own when it carries less than this part of what its ports would."""


@dataclass(frozen=True, slots=True)
class RackTrial:
    """Rates while all of a group sent to hosts outside and received from them, and what ports allow."""

    hosts: Group
    out_bytes_s: tuple[float, ...]
    in_bytes_s: tuple[float, ...]
    ports_out_bytes_s: float
    ports_in_bytes_s: float

    @property
    def limits_out(self) -> bool:
        """Whether the group sent clearly less than its ports allow."""
        return median(self.out_bytes_s) < LIMITED * self.ports_out_bytes_s

    @property
    def limits_in(self) -> bool:
        """Whether the group received clearly less than its ports allow."""
        return median(self.in_bytes_s) < LIMITED * self.ports_in_bytes_s


def suspected(
    hosts: Sequence[int],
    rates: Mapping[Pair, Sequence[float]],
    ports: Mapping[int, tuple[float, float]],
) -> list[Group]:
    """Groups of two or more hosts whose flows to others slow each other.

    `rates` are those of flows from a to b while all hosts sent and received; `ports` are each host's own
    rates of sending and receiving.
    """
    slowed = _shortfalls(hosts, rates, ports)
    if len(hosts) < 3 or not any(
        value > _LEAST_SHORTFALL for row in slowed.values() for value in row.values()
    ):
        return []
    distance = _distances(hosts, slowed)
    clusters: list[Group] = [(host,) for host in hosts]
    best, groups = _LEAST_SHORTFALL, list[Group]()
    while len(clusters) > 1:
        contrast = _contrast(clusters, slowed)
        if contrast >= best:
            best, groups = contrast, [cluster for cluster in clusters if len(cluster) > 1]
        clusters = _merged(clusters, distance)
    return sorted(groups)


def _shortfalls(
    hosts: Sequence[int],
    rates: Mapping[Pair, Sequence[float]],
    ports: Mapping[int, tuple[float, float]],
) -> dict[int, dict[int, float]]:
    """The part of its rate that each pair lacked, as the mean over both directions."""
    lacks_of: dict[Pair, list[float]] = {}
    for (a, b), samples in rates.items():
        if a in ports and b in ports:
            most = min(ports[a][0], ports[b][1])
            lacks = [max(0.0, 1 - rate / most - _SLOWED) for rate in samples]
            lacks_of.setdefault((min(a, b), max(a, b)), []).extend(lacks)
    known = {pair: mean(lacks) for pair, lacks in lacks_of.items() if lacks}
    usual = mean(known.values()) if known else 0.0
    return {
        a: {b: known.get((min(a, b), max(a, b)), usual) for b in hosts if b != a} for a in hosts
    }


def _distances(
    hosts: Sequence[int], slowed: Mapping[int, Mapping[int, float]]
) -> dict[Pair, float]:
    """How much two hosts slow each other, and how differently the others slow them."""

    def differ(a: int, b: int) -> float:
        return mean(abs(slowed[a][c] - slowed[b][c]) for c in hosts if c not in (a, b))

    return {(a, b): slowed[a][b] + differ(a, b) for a in hosts for b in hosts if a != b}


def _contrast(clusters: Sequence[Group], slowed: Mapping[int, Mapping[int, float]]) -> float:
    """How much more pairs of different clusters are slowed than pairs within one."""
    inside, across = list[float](), list[float]()
    for number, cluster in enumerate(clusters):
        inside += [slowed[a][b] for a in cluster for b in cluster if a < b]
        for other in clusters[:number]:
            across += [slowed[a][b] for a in cluster for b in other]
    return mean(across) - (mean(inside) if inside else mean(across))


def _merged(clusters: Sequence[Group], distance: Mapping[Pair, float]) -> list[Group]:
    """The clusters after the two closest ones, by mean distance, are merged."""

    def distance_between(pair: tuple[Group, Group]) -> float:
        return mean(distance[a, b] for a in pair[0] for b in pair[1])

    pairs = [(one, two) for k, one in enumerate(clusters) for two in clusters[:k]]
    one, two = min(pairs, key=distance_between)
    rest = [cluster for cluster in clusters if cluster not in (one, two)]
    return [*rest, tuple(sorted(one + two))]
