"""A tree: an all-reduce schedule in which all chunks follow one another up one tree and down another.

`forest` and `grove` have several trees that take turns; `tree_search` finds the tree for a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as short

from firetree.collectives.algorithms.hierarchical import SLACK
from firetree.collectives.reduction import Hop, collective
from firetree.collectives.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Tree:
    """For each host where its sums go, and where its copies come from; the root has its own number in both."""

    sums_to: tuple[int, ...]
    copies_from: tuple[int, ...]
    chunks: int = 1

    def check(self, world_size: int) -> None:
        """Raise ValueError if these are not two trees of hosts 0 to `world_size` − 1 with one root."""
        hosts = range(world_size)
        for parents in (self.sums_to, self.copies_from):
            if len(parents) != world_size or not set(parents) <= {*hosts}:
                raise ValueError(f"{short(parents)}, not a host for each of {world_size}")
            roots = [host for host in hosts if parents[host] == host]
            if len(roots) != 1 or -1 in depths(parents):
                raise ValueError(f"{short(parents)}, not a tree of all hosts")
        if self.copies_from[self.root] != self.root:
            raise ValueError(f"sums end on host {self.root}, copies begin on another")

    @property
    def root(self) -> int:
        """The host on which sums end and copies begin."""
        return next(host for host, parent in enumerate(self.sums_to) if host == parent)

    def schedule(self) -> Schedule:
        """The all-reduce along this tree."""
        return collective("all_reduce", len(self.sums_to), self.chunks, self.hops())

    def hops(self) -> list[Hop]:
        """The hops of all chunks, which start two steps apart."""
        steps = self.steps()
        return [
            Hop(2 * chunk + SLACK * step, sender, receiver, chunk, adds)
            for chunk in range(self.chunks)
            for step, sender, receiver, adds in steps
        ]

    def steps(self) -> list[tuple[int, int, int, bool]]:
        """The hops of one chunk: step, sender, receiver, and whether it adds."""
        up, down = depths(self.sums_to), depths(self.copies_from)
        turn = max(up)  # from here on copies go down
        steps = []
        for host in {*range(len(up))} - {self.root}:
            steps.append((turn - up[host], host, self.sums_to[host], True))
            steps.append((turn + down[host] - 1, self.copies_from[host], host, False))
        return steps


def depths(parents: Sequence[int]) -> list[int]:
    """How far each node is below the root, which is its own parent; −1 where it never gets there."""
    found = [0 if parent == node else -1 for node, parent in enumerate(parents)]
    for start in range(len(parents)):
        way: list[int] = []
        node = start
        while found[node] < 0 and len(way) < len(parents):
            way.append(node)
            node = parents[node]
        if found[node] >= 0:
            for further, passed in enumerate(reversed(way), start=1):
                found[passed] = found[node] + further
    return found
