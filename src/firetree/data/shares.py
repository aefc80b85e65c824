"""How ranks share a step's samples: contiguous parts of whole samples, alike or by the ranks' speeds.

Letters in names: B samples of a step over all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from heapq import heapify, heapreplace
from typing import TypeVar

import numpy as np

from firetree.data.order import Indices

Shares = tuple[int, ...]
"""For each rank, its samples of a whole batch; or any numbers in the same proportion, as (1, 1, 1)."""

Prepared = TypeVar("Prepared")


def cuts(count: int, shares: Shares) -> Indices:
    """Where `count` samples are cut into each rank's contiguous part: the first and last cut are the ends.

    A part differs by less than one from its proportion. Some are empty if ranks exceed the samples.
    """
    return count * np.cumsum([0, *shares]) // sum(shares)


def share(indices_B: Indices, rank: int, shares: Shares) -> Indices:
    """A rank's contiguous part of a step's samples."""
    first, last = cuts(len(indices_B), shares)[rank : rank + 2]
    return indices_B[first:last]


def apportion(count: int, speeds: Sequence[float]) -> Shares:
    """Samples for each rank, at least one, so that the slowest is done as soon as it can be.

    Each next sample goes where it is done first: D'Hondt's method. `count` is at least the number of
    ranks, and speeds are above 0.
    """
    shares = [1] * len(speeds)
    next_done = [(2 / speed, rank) for rank, speed in enumerate(speeds)]
    heapify(next_done)
    for _ in range(count - len(speeds)):
        _, rank = next_done[0]
        shares[rank] += 1
        heapreplace(next_done, ((shares[rank] + 1) / speeds[rank], rank))
    return tuple(shares)


def begun_anew(
    shares: Callable[[], Shares], begin: Callable[[int], Generator[Prepared]], step: int
) -> Generator[Prepared]:
    """What `begin(step)` yields for each step; after new shares it is begun again at the next step.

    What was prepared ahead is dropped then, as it has the shares of before.
    """
    while True:
        before = shares()
        with closing(begin(step)) as prepared:
            for one in prepared:
                yield one
                step += 1
                if shares() != before:
                    break
            else:
                return


def step_sizes(count: int, batch_size: int, ranks: int) -> list[int]:
    """Samples of each step that together see `count` samples once, with at least one for each rank.

    A rest of fewer samples than ranks joins the step before. `batch_size` is from `ranks` to `count`.
    """
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole
    if rest < ranks:
        sizes[-1] += rest
    else:
        sizes.append(rest)
    return sizes
