"""Find a forest for a network by local search from a few good starts.

The simulator prices each change. The search stops after a fixed number of simulated transfers, so it
finds the same forest on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from statistics import median

from firetree.network.network import Network
from firetree.planning.forest import LEAF_PARTS, Forest
from firetree.planning.host_order import host_order
from firetree.planning.simulate import price

TRANSFERS = 100_000
"""Simulated transfers in one search, which take some seconds."""

FRUITLESS = 100
"""A search stops after this many changes in a row that lead to forests tried before."""

WORTHWHILE = 0.995
"""A change is kept if the new time is below this fraction of the old one; less would be noise."""

WIDEST_STAR = 8
"""Racks with more hosts use few chunks in a star: more would cost more messages than they save steps."""

MOST_CHUNKS = 256
LEAST_CHUNK_BYTES = 1 << 15

_SLOW = (0.8, 0.5)
"""Hosts below these fractions of the median rate are tried as leaves."""


def find_forest(
    network: Network, size_bytes: float, *, seed: int = 0, transfers: int = TRANSFERS
) -> Forest:
    """The best forest found for an all-reduce of `size_bytes`; the same for the same seed.

    The search stops after `transfers` simulated transfers.
    """
    search = _Search(network, size_bytes, transfers)
    for start in _starts(network, size_bytes):
        search.consider(start)
    changes = random.Random(seed)
    while search.goes_on:
        search.consider(_mutate(search.best, network, size_bytes, changes))
    return search.best


class _Search:
    """The best forest so far, and how many transfers may still be simulated."""

    def __init__(self, network: Network, size_bytes: float, transfers: int):
        self._network, self._size_bytes, self._left = network, size_bytes, transfers
        self._tried: set[Forest] = set()
        self._fruitless = 0
        self._best_s = math.inf
        self.best = _plain(network)

    @property
    def goes_on(self) -> bool:
        """Whether transfers are left, and new forests are still found."""
        return self._left > 0 and self._fruitless < FRUITLESS

    def consider(self, forest: Forest) -> None:
        """Keep the forest if it is new, within the transfers left, and faster by WORTHWHILE."""
        self._fruitless += 1
        transfers = 2 * (self._network.size - 1) * forest.chunks
        too_dear = self._tried and transfers > self._left
        if forest in self._tried or too_dear or not self.goes_on:
            return
        self._fruitless = 0
        self._tried.add(forest)
        self._left -= transfers
        time_s = price(forest.schedule(), self._network, self._size_bytes).time_s
        if time_s < WORTHWHILE * self._best_s:
            self.best, self._best_s = forest, time_s


def _plain(network: Network) -> Forest:
    """The network's racks, hosts ordered by their ports, one gate and one chunk for each rack."""
    members = [set(rack.hosts) for rack in network.racks] or [set(range(network.size))]
    order = host_order(network)
    racks = tuple(tuple(host for host in order if host in rack) for rack in members)
    return Forest(racks, (0,) * network.size, gates=1, chunks=len(racks))


def _starts(network: Network, size_bytes: float) -> Iterator[Forest]:
    """All mixes of: no leaves or slow hosts as leaves, one gate or all, chains or stars, numbers of chunks."""
    plain = _plain(network)
    rates = [min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts]
    usual = median(rates)
    leaves = {(0,) * network.size} | {
        tuple(LEAF_PARTS if rate < part * usual else 0 for rate in rates) for part in _SLOW
    }
    slow = [host for host, rate in enumerate(rates) if rate < min(_SLOW) * usual]
    if len(slow) == 1 and not network.racks and network.size > 2:
        # As a rack of its own, a slow host sends and receives from the start, each chunk once each way.
        fast = tuple(host for host in plain.racks[0] if host != slow[0])
        own_rack = replace(plain, racks=(fast, (slow[0],)))
        for chunks in _chunk_counts(own_rack, size_bytes):
            yield replace(own_rack, chunks=chunks)
    for leaf_parts, gates, stars in product(
        sorted(leaves), sorted({1, max(map(len, plain.racks))}), (False, True)
    ):
        start = replace(plain, leaf_parts=leaf_parts, gates=gates, stars=stars)
        for chunks in _chunk_counts(start, size_bytes):
            yield replace(start, chunks=chunks)


def _chunk_counts(forest: Forest, size_bytes: float) -> list[int]:
    """Multiples of the period: one, a third of the most useful number of chunks, and that number.

    Empty if one period exceeds MOST_CHUNKS, as racks of different sizes can cause.
    """
    if forest.period > MOST_CHUNKS:
        return []
    periods = max(1, int(_most_chunks(forest, size_bytes) / forest.period))
    return [forest.period * count for count in sorted({1, -(-periods // 3), periods})]


def _most_chunks(forest: Forest, size_bytes: float) -> float:
    if forest.stars and max(map(len, forest.racks)) > WIDEST_STAR:
        return forest.period
    return min(MOST_CHUNKS, max(1.0, size_bytes / LEAST_CHUNK_BYTES))


def _mutate(forest: Forest, network: Network, size_bytes: float, changes: random.Random) -> Forest:
    """The forest with one random change: a host's leaf part, the order, the gates, or the chunks.

    The forest stays as it is if the change would make its period longer than MOST_CHUNKS.
    """
    before = forest
    match changes.choice(("leaf", "order", "gates", "chunks", "chunks")):
        case "leaf":
            parts = list(forest.leaf_parts)
            host = changes.randrange(network.size)
            parts[host] = changes.choice([0, LEAF_PARTS // 4, LEAF_PARTS // 2, LEAF_PARTS])
            forest = replace(forest, leaf_parts=tuple(parts))
        case "order":
            rack = changes.randrange(len(forest.racks))
            hosts = list(forest.racks[rack])
            one, other = changes.randrange(len(hosts)), changes.randrange(len(hosts))
            hosts[one], hosts[other] = hosts[other], hosts[one]
            racks = (*forest.racks[:rack], tuple(hosts), *forest.racks[rack + 1 :])
            forest = replace(forest, racks=racks)
        case "gates":
            forest = replace(forest, gates=changes.randint(1, max(map(len, forest.racks))))
        case "chunks":
            forest = replace(forest, chunks=round(forest.chunks * changes.uniform(0.6, 1.6)))
    if forest.period > MOST_CHUNKS:
        return before
    chunks = min(forest.chunks, _most_chunks(forest, size_bytes))
    periods = max(1, round(chunks / forest.period))
    return replace(forest, chunks=periods * forest.period)
