"""Find the tree for a network along which no link is busier than it must be.

The fastest packing of trees (`packing`) shows how fast any can be. Several trees at once share ports,
whose turns nobody controls, and lose up to half of that. One tree does not, and often there is one that
is as fast. It is found by local search on the links' loads, without simulation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter

from firetree.network.network import Network
from firetree.planning.packing import pack
from firetree.planning.routes import Routes
from firetree.planning.tree import Tree, depths

_CHANGES = 25
"""Tried for each pair of hosts."""

_SEEDS = 3
_FEW_HOSTS = 16
"""With more, one search is long enough."""

_POWER = 8
"""Of a link's load in the cost: the busiest links count."""

_DEPTH_COST = 0.1
"""Of each further level of a tree, beside a full link's cost of 1: the first chunk takes longer."""

_Change = tuple[int, int, int]
"""0 for sums or 1 for copies, a host, and its new parent."""


@lru_cache(maxsize=64)
def grown_trees(network: Network) -> tuple[Tree, ...]:
    """Trees for a network of two hosts or more, the best by its links' loads first; always the same."""
    packing = pack(network)
    heaviest = packing.trees[packing.parts.index(max(packing.parts))]
    seeds = _SEEDS if network.size <= _FEW_HOSTS else 1
    found = [_Balance(network, heaviest, packing.s_byte, seed).search() for seed in range(seeds)]
    return tuple(tree for _, tree in sorted(found, key=itemgetter(0)))


class _Balance:
    """A tree that is changed host by host, and how busy each link is; 1 is the optimum's full load."""

    def __init__(self, network: Network, start: Tree, s_byte: float, seed: int):
        routes = Routes(network)
        self._routes = routes
        self._share = [1 / (rate * s_byte) for rate in routes.rates_bytes_s]
        self._loads = [0.0] * len(self._share)
        self._parents = [*range(network.size)], [*range(network.size)]
        self._random = random.Random(seed)
        for side, parents in enumerate((start.sums_to, start.copies_from)):
            self._change([(side, host, parent) for host, parent in enumerate(parents)])

    def search(self) -> tuple[float, Tree]:
        """The best tree found, and its cost."""
        cost = self._links_cost() + self._trees_cost()
        for _ in range(_CHANGES * len(self._parents[0]) ** 2):
            back = self._change([*self._propose()])
            new_cost = self._links_cost()
            if new_cost <= cost:
                new_cost += self._trees_cost()
            if new_cost <= cost:
                cost = new_cost
            else:
                self._change(back)
        sums_to, copies_from = map(tuple, self._parents)
        return cost, Tree(sums_to, copies_from)

    def _propose(self) -> Iterator[_Change]:
        """Another parent for a random host, or another root."""
        host, other = self._random.sample(range(len(self._parents[0])), 2)
        if self._parents[0][host] == host:
            for side in (0, 1):
                yield from self._new_root(side, other)
            return
        side = self._random.randrange(2)
        if not self._is_below(side, other, host):
            yield side, host, other

    def _new_root(self, side: int, root: int) -> Iterator[_Change]:
        """Turn the edges round between the root of old and this one."""
        parents, way = self._parents[side], [root]
        while parents[way[-1]] != way[-1]:
            way.append(parents[way[-1]])
        yield side, root, root
        for below, above in pairwise(way):
            yield side, above, below

    def _is_below(self, side: int, node: int, above: int) -> bool:
        parents = self._parents[side]
        while node not in (above, parents[node]):
            node = parents[node]
        return node == above

    def _change(self, changes: Sequence[_Change]) -> list[_Change]:
        """Change parents and loads; returns the changes that undo these."""
        back = []
        for side, host, parent in changes:
            before = self._parents[side][host]
            back.append((side, host, before))
            self._carry(side, host, before, -1)
            self._carry(side, host, parent, 1)
            self._parents[side][host] = parent
        return back

    def _carry(self, side: int, host: int, parent: int, times: int) -> None:
        if host != parent:
            ends = (parent, host) if side else (host, parent)
            for link in self._routes.between(*ends):
                self._loads[link] += times * self._share[link]

    def _links_cost(self) -> float:
        """Of busy links."""
        return float(sum(load**_POWER for load in self._loads))

    def _trees_cost(self) -> float:
        """Of levels, and of channels that take both sums and copies, which wait for each other."""
        sums_to, copies_from = self._parents
        levels = max(depths(sums_to)) + max(depths(copies_from))
        shared = [host for host, to in enumerate(sums_to) if copies_from[to] == host != to]
        return _DEPTH_COST * levels + len(shared)
