"""Groves for a network: packings of its trees, from few and shallow ones to those of the fastest packing.

In the fastest packing all links are full at once, which in simulation they rarely are: several trees share
ports, and nobody controls whose turn it is. How much is lost depends on the trees and on how far copies lag
behind sums, so a few of both are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from firetree.network.network import Network
from firetree.planning.grove import Grove
from firetree.planning.packing import pack, pack_of
from firetree.planning.tree import Tree, depths

_KINDS = ((16, 0.02), (1024, 0.02), (1024, 0.0), (24, None), (48, 0.02))
"""The lag, and what each level of a tree beyond the fewest counts, as a part of what the tree carries; None takes
the fastest packing as it is. A lag of 1,024 lets all sums go before all copies."""


def groves(network: Network, chunks: int) -> Iterator[Grove]:
    """Several for a network of 3 to `packing.MOST_PACKED` hosts, of about so many chunks."""
    fastest = pack(network)
    known = tuple(dict.fromkeys((*_shallow_trees(network.size), *fastest.trees)))
    for lag, level_cost in _KINDS:
        packing = fastest
        if level_cost is not None:
            worth = [1 - level_cost * (_levels(tree) - 2) for tree in known]
            packing = pack_of(network, known, worth)
        shares = (
            replace(tree, chunks=round(part * chunks))
            for tree, part in zip(packing.trees, packing.parts, strict=True)
        )
        if trees := tuple(tree for tree in shares if tree.chunks):
            yield Grove(trees, lag)


def _shallow_trees(size: int) -> Iterator[Tree]:
    """All hosts send their sums to one, and one sends all others their copies."""
    for sums_to in range(size):
        for copies_from in range(size):
            copies = [copies_from] * size
            copies[copies_from] = copies[sums_to] = sums_to
            yield Tree((sums_to,) * size, tuple(copies))


def _levels(tree: Tree) -> int:
    return max(depths(tree.sums_to)) + max(depths(tree.copies_from))
