"""The fastest packing of trees onto a network's links: how fast any all-reduce along trees can be.

A part of the buffer is summed along a tree to its root, and copied from there along another one. How
much to send along which pair of trees is a linear programme with a variable for each pair. Its columns
are generated: under the prices of links that the simplex method has anyway, the most useful pair is the
cheapest one. Packing trees: Edmonds, "Edge-disjoint branchings", 1973; for collectives, Wang et al.,
"Blink", 2020, and Zhao et al., "ForestColl", 2024. Here several hosts may share an uplink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firetree.network.network import Network
from firetree.planning.branching import cheapest_tree
from firetree.planning.routes import Routes
from firetree.planning.tree import Tree

_Floats = NDArray[np.float64]

MOST_PACKED = 64
"""Hosts of a network whose packing takes a second or two at most."""

_NUDGE = 1e-8
"""Prices and rates are changed by about this part, so that ties are broken."""

_USEFUL = 1e-10
"""A tree is taken if it brings more than this beyond what its links are worth."""

_REFRESH = 50
"""Pivots after which the inverse is computed anew, before errors add up."""

_PIVOTS = 20_000


@dataclass(frozen=True, slots=True)
class Packing:
    """Trees, and the part of the buffer that each carries; the parts add up to 1.

    All of it takes `s_byte` seconds a byte where neither latency nor messages cost anything, and no other
    trees take less than `least_s_byte`, which differs by rounding only.
    """

    trees: tuple[Tree, ...]
    parts: tuple[float, ...]
    s_byte: float
    least_s_byte: float


@lru_cache(maxsize=64)
def pack(network: Network) -> Packing:
    """The fastest packing of trees for a network of 2 to MOST_PACKED hosts."""
    links = _Links(network)
    return _Simplex(links, _AllTrees(links)).solve()


def pack_of(network: Network, trees: Sequence[Tree], worth: Sequence[float]) -> Packing:
    """The packing of these trees alone that is worth the most: what each carries, times its worth.

    Worths of 1 give the fastest one.
    """
    links = _Links(network)
    return _Simplex(links, _SomeTrees(links, trees, worth)).solve()


class _Links:
    """A network's links as arrays."""

    def __init__(self, network: Network):
        routes, hosts = Routes(network), range(network.size)
        paths = [[[*routes.between(a, b)] if a != b else [] for b in hosts] for a in hosts]
        longest = max(len(path) for row in paths for path in row)
        self.rates_bytes_s = np.array(routes.rates_bytes_s)
        self.size, self.count = network.size, len(routes.rates_bytes_s)
        self._hosts = np.arange(network.size)
        # Paths of one length, filled up with a link that costs nothing.
        self._paths = np.full((network.size, network.size, longest), self.count)
        for a, row in enumerate(paths):
            for b, path in enumerate(row):
                self._paths[a, b, : len(path)] = path

    def cheapest(self, prices: _Floats, root: int) -> tuple[float, Tree]:
        """The pair of trees with this root whose links cost the least, and that cost."""
        costs = np.append(prices, 0.0)[self._paths].sum(axis=2)
        up, down = cheapest_tree(costs.T, root), cheapest_tree(costs, root)
        cost = costs[self._hosts, up].sum() + costs[down, self._hosts].sum()
        return float(cost), Tree(tuple(up.tolist()), tuple(down.tolist()))

    def load(self, tree: Tree) -> _Floats:
        """How often the tree crosses each link."""
        senders, receivers = [*self._hosts, *tree.copies_from], [*tree.sums_to, *self._hosts]
        crossed = self._paths[senders, receivers].ravel()
        return np.bincount(crossed, minlength=self.count + 1)[: self.count].astype(float)


class _AllTrees:
    """All trees of a network, each worth 1; one after another root is looked at."""

    def __init__(self, links: _Links):
        self._links, self._root = links, 0

    def useful(self, prices: _Floats) -> tuple[Tree, float] | None:
        """A tree that is worth more than its links at these prices, and its worth, if there is one."""
        hosts = self._links.size
        for root in range(self._root, self._root + hosts):
            cost, tree = self._links.cheapest(prices, root % hosts)
            if cost < 1 - _USEFUL:
                self._root = tree.root + 1
                return tree, 1.0
        return None


class _SomeTrees:
    """Given trees, each with a worth of its own."""

    def __init__(self, links: _Links, trees: Sequence[Tree], worth: Sequence[float]):
        self._trees, self._worth = trees, np.array(worth)
        self._loads = np.array([links.load(tree) for tree in trees])

    def useful(self, prices: _Floats) -> tuple[Tree, float] | None:
        """The tree that is worth most beyond its links at these prices, and its worth, if there is one."""
        gains = self._worth - self._loads @ prices
        best = int(gains.argmax())
        if gains[best] <= _USEFUL:
            return None
        return self._trees[best], float(self._worth[best])


class _Simplex:
    """Maximise what flows along all trees in a second, while no link carries more than it can.

    The revised simplex method (Dantzig): the basis has as many columns as there are links, each a tree or
    what a link has to spare. The price of a link is what a byte a second more on it would bring.
    """

    def __init__(self, links: _Links, trees: _AllTrees | _SomeTrees):
        self._links, self._trees = links, trees
        self._unit_bytes_s = float(links.rates_bytes_s.max())
        self._rates = links.rates_bytes_s / self._unit_bytes_s
        self._nudged = self._rates * (1 + _NUDGE * (0.618034 * np.arange(links.count) % 1))
        self._nudges = _NUDGE * self._rates.min() / (self._rates * links.count)
        self._basis: list[Tree | None] = [None] * links.count
        self._worth: _Floats = np.zeros(links.count)
        self._columns: _Floats = np.eye(links.count)
        self._inverse: _Floats = np.eye(links.count)
        self._values: _Floats = self._nudged

    def solve(self) -> Packing:
        """Take in useful trees until there is none."""
        spare = np.eye(self._links.count)
        for pivot in range(1, _PIVOTS):
            prices = self._worth @ self._inverse
            if prices.min() < -_USEFUL:
                self._pivot(None, 0.0, spare[prices.argmin()], pivot)
                continue
            found = self._trees.useful(np.maximum(prices, 0) + self._nudges)
            if found is None:
                break
            tree, worth = found
            self._pivot(tree, worth, self._links.load(tree), pivot)
        return self._packing(prices)

    def _pivot(self, entering: Tree | None, worth: float, column: _Floats, number: int) -> None:
        """Take a column into the basis, for the one that it uses up first."""
        change = self._inverse @ column
        ratios = np.full(len(change), np.inf)
        np.divide(self._values, change, out=ratios, where=change > 1e-9)
        row = int(ratios.argmin())
        self._basis[row], self._worth[row] = entering, worth
        self._columns[:, row] = column
        if number % _REFRESH:
            scaled = self._inverse[row] / change[row]
            self._inverse -= np.outer(change, scaled)
            self._inverse[row] = scaled
        else:
            self._inverse = np.linalg.inv(self._columns).astype(np.float64)
        self._values = np.maximum(self._inverse @ self._nudged, 0)

    def _packing(self, prices: _Floats) -> Packing:
        """The trees of the basis, and by duality what any others need: none is cheaper than the cheapest."""
        flows = {
            it: flow for it, flow in zip(self._basis, self._values, strict=True) if it and flow
        }
        parts = np.array([*flows.values()]) / sum(flows.values())
        load = parts @ np.array([self._links.load(tree) for tree in flows])
        prices = np.maximum(prices, 0) + self._nudges
        cheapest = min(self._links.cheapest(prices, root)[0] for root in range(self._links.size))
        return Packing(
            tuple(flows),
            tuple(parts.tolist()),
            float((load / self._links.rates_bytes_s).max()),
            float(cheapest / (prices @ self._rates) / self._unit_bytes_s),
        )
