"""Spanning trees of least cost in a directed graph, given as a table of costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cheapest_tree(costs: NDArray[np.float64], root: int) -> NDArray[np.intp]:
    """The parent of each node in the tree from `root` whose edges cost the least; the root is its own.

    `costs[a, b]`, of shape (nodes, nodes), is that of the edge from parent a to child b. Edmonds, "Optimum
    branchings", 1967: each node takes its cheapest edge; a cycle of them becomes one node, and to enter it
    costs what replaces an edge of the cycle.
    """
    costs = costs.copy()
    np.fill_diagonal(costs, np.inf)
    parents: NDArray[np.intp] = costs.argmin(axis=0)
    parents[root] = root
    cycle = np.array(_cycle(parents.tolist(), root), np.intp)
    if not len(cycle):
        return parents
    others = np.setdiff1d(np.arange(len(costs)), cycle)
    entering = costs[np.ix_(others, cycle)] - costs[parents[cycle], cycle]
    leaving = costs[np.ix_(cycle, others)]
    whole = len(others)  # the cycle's number in the smaller graph
    smaller = np.empty((whole + 1, whole + 1))
    smaller[:whole, :whole] = costs[np.ix_(others, others)]
    smaller[:whole, whole] = entering.min(axis=1)
    smaller[whole, :whole] = leaving.min(axis=0)
    tree = cheapest_tree(smaller, int(np.flatnonzero(others == root)[0]))
    for number, node in enumerate(others):
        above = tree[number]
        parents[node] = others[above] if above < whole else cycle[leaving[:, number].argmin()]
    outside = tree[whole]
    parents[cycle[entering[outside].argmin()]] = others[outside]
    parents[root] = root
    return parents


def _cycle(parents: list[int], root: int) -> list[int]:
    """The nodes of one cycle; empty where all ways lead to the root."""
    reached_from = [-1] * len(parents)
    reached_from[root] = root
    for start in range(len(parents)):
        node = start
        while reached_from[node] < 0:
            reached_from[node] = start
            node = parents[node]
        if reached_from[node] == start != root:
            cycle = [node]
            while parents[cycle[-1]] != node:
                cycle.append(parents[cycle[-1]])
            return cycle
    return []
