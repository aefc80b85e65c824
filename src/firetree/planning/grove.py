"""A grove: an all-reduce schedule of several trees, each of which carries its own number of chunks.

It is for networks whose links one `tree` cannot keep busy. `grove_search` finds one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firetree.collectives.reduction import Hop, collective
from firetree.collectives.schedule import Schedule
from firetree.planning.tree import Tree

MOST_LAG = 1 << 16


@dataclass(frozen=True, slots=True)
class Grove:
    """Trees that take turns, as often as they have chunks, evenly spread.

    A chunk starts two steps after the one before it and makes a hop every `lag` steps. On a channel that
    has several, earlier steps go first: with a long lag, sums go before the copies of chunks long begun.
    """

    trees: tuple[Tree, ...]
    lag: int

    @property
    def chunks(self) -> int:
        """Of all trees together."""
        return sum(tree.chunks for tree in self.trees)

    def check(self, world_size: int) -> None:
        """Raise ValueError if these are not trees of hosts 0 to `world_size` − 1 with chunks for each."""
        if not self.trees or any(tree.chunks < 1 for tree in self.trees):
            raise ValueError("a grove without trees, or with a tree without chunks")
        if not 1 <= self.lag <= MOST_LAG:
            raise ValueError(f"a lag of {self.lag} steps, not 1 to {MOST_LAG}")
        for tree in self.trees:
            tree.check(world_size)

    def schedule(self) -> Schedule:
        """The all-reduce along these trees."""
        return collective("all_reduce", len(self.trees[0].sums_to), self.chunks, self.hops())

    def hops(self) -> list[Hop]:
        """The hops of all chunks."""
        steps = [tree.steps() for tree in self.trees]
        return [
            Hop(2 * chunk + self.lag * step, sender, receiver, chunk, adds)
            for chunk, tree in enumerate(self._turns())
            for step, sender, receiver, adds in steps[tree]
        ]

    def _turns(self) -> Iterator[int]:
        """The tree of each chunk: the one that is furthest behind its share."""
        left, chunks = [tree.chunks for tree in self.trees], self.chunks
        for chunk in range(chunks):
            turn = max(
                range(len(left)),
                key=lambda k: self.trees[k].chunks * (chunk + 1 - chunks) + chunks * left[k],
            )
            left[turn] -= 1
            yield turn
