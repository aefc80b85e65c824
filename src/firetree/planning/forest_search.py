"""Find the tree, or the forest, with which an all-reduce is fastest on a network.

The trees of `tree_search` are tried first, then forests, by local search from a few good starts. The
simulator prices them, but none whose busiest link alone takes too long. The search stops near the
optimum, or after a fixed number of simulated transfers, so it finds the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from statistics import median

from firetree.network.network import Network
from firetree.planning.bound import optimum_s
from firetree.planning.forest import LEAF_PARTS, Forest
from firetree.planning.grove import Grove
from firetree.planning.grove_search import groves
from firetree.planning.host_order import host_order
from firetree.planning.packing import MOST_PACKED
from firetree.planning.routes import Routes
from firetree.planning.simulate import price
from firetree.planning.tree import Tree
from firetree.planning.tree_search import grown_trees

Grown = Forest | Grove | Tree

TRANSFERS = 40_000
"""Simulated transfers in one search, which take a second."""

IN_VAIN = 1 / 4
"""Local search stops after this part of the transfers has brought nothing better."""

FRUITLESS = 100
"""A search stops after this many changes in a row that lead to forests tried before."""

GOOD = 1.03
"""A search stops within this factor of the optimum."""

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
) -> Grown:
    """The best found for an all-reduce of `size_bytes`; the same for the same seed.

    The search stops after `transfers` simulated transfers.
    """
    search = _Search(network, size_bytes, transfers)
    if 2 <= network.size <= MOST_PACKED:
        for tree in grown_trees(network):
            affordable = transfers // (4 * (network.size - 1))
            for chunks in _halved(min(affordable, _useful_chunks(size_bytes))):
                if not search.consider(replace(tree, chunks=chunks)):
                    break
    if 3 <= network.size <= MOST_PACKED and search.goes_on:
        affordable = transfers // (16 * (network.size - 1))
        for grove in groves(network, min(affordable, _useful_chunks(size_bytes))):
            search.consider(grove)
    if search.goes_on:
        for start in sorted(_starts(network, size_bytes), key=search.one_period_s):
            search.consider(start)
    changes = random.Random(seed)
    while search.goes_on and not search.is_in_vain:
        search.consider(_mutate(search.forest, network, size_bytes, changes))
    return search.best


class _Search:
    """The best so far, the best forest so far, and how many transfers may still be simulated."""

    def __init__(self, network: Network, size_bytes: float, transfers: int):
        self._network, self._size_bytes, self._left = network, size_bytes, transfers
        self._most_in_vain = IN_VAIN * transfers
        self._routes = Routes(network)
        self._good_s = GOOD * optimum_s(network, size_bytes)
        self._tried: set[Grown] = set()
        self._fruitless = self._vain = 0
        self._best_s = self._forest_s = math.inf
        self.forest = _plain(network)
        self.best: Grown = self.forest

    @property
    def goes_on(self) -> bool:
        """Whether transfers are left, new forests are still found, and a better one may be worth it."""
        return self._left > 0 and self._fruitless < FRUITLESS and self._best_s > self._good_s

    @property
    def is_in_vain(self) -> bool:
        """Whether too many transfers have brought nothing better."""
        return self._vain > self._most_in_vain

    def one_period_s(self, forest: Forest) -> float:
        """What the busiest link takes if the chunks are one period."""
        return self._busiest_s(replace(forest, chunks=forest.period))

    def _busiest_s(self, found: Grown) -> float:
        ends = ((hop.sender, hop.receiver) for hop in found.hops())
        return self._size_bytes * max(self._routes.carried_s_byte(ends, found.chunks))

    def consider(self, found: Grown) -> bool:
        """Keep it if it is new, within the transfers left, and faster by WORTHWHILE; returns whether it is."""
        self._fruitless += 1
        transfers = 2 * (self._network.size - 1) * found.chunks
        if found in self._tried or transfers > self._left or not self.goes_on:
            return False
        if self._busiest_s(found) > WORTHWHILE * self._best_s:
            return False
        self._fruitless = 0
        self._tried.add(found)
        self._left -= transfers
        time_s = price(found.schedule(), self._network, self._size_bytes).time_s
        if isinstance(found, Forest) and time_s < self._forest_s:
            self.forest, self._forest_s = found, time_s
        is_better = time_s < WORTHWHILE * self._best_s
        self._vain += transfers
        if is_better:
            self._vain = 0
            self.best, self._best_s = found, time_s
        return is_better


def _useful_chunks(size_bytes: float) -> int:
    return int(min(MOST_CHUNKS, max(1, size_bytes / LEAST_CHUNK_BYTES)))


def _halved(chunks: int) -> Iterator[int]:
    """This number, half of it, and so on."""
    while chunks:
        yield chunks
        chunks //= 2


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
    if network.racks:
        # All hosts as gates of one rack are a ring, which thick uplinks carry.
        around = replace(plain, racks=(sum(plain.racks, ()),), gates=network.size)
        for chunks in _chunk_counts(around, size_bytes):
            yield replace(around, chunks=chunks)


def _chunk_counts(forest: Forest, size_bytes: float) -> list[int]:
    """Multiples of the period: one, a third of the most useful number of chunks, and that number.

    Empty if one period exceeds MOST_CHUNKS, as racks of different sizes can cause.
    """
    if forest.period > MOST_CHUNKS:
        return []
    periods = max(1, _most_chunks(forest, size_bytes) // forest.period)
    return [forest.period * count for count in sorted({1, -(-periods // 3), periods})]


def _most_chunks(forest: Forest, size_bytes: float) -> int:
    if forest.stars and max(map(len, forest.racks)) > WIDEST_STAR:
        return forest.period
    return _useful_chunks(size_bytes)


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
