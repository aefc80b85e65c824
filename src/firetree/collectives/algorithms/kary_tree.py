"""The k-ary reduction tree: each rank adds the sums of its k children; rank 0 broadcasts the result.

`kary_tree:k`, by default k = 3. With D = ⌈log_k((k − 1)·p + 1)⌉ − 1 levels below the root: steps
2·k·D at most. Bytes sent by the busiest rank (an inner one): (k + 1)·W. Time on α–β links: 2·k·D·(α + W/BW).
It is faster than the binomial tree if α dominates and ports receive several messages at once.
Source: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in
MPICH", 2005, whose binary trees this generalises.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, whole
from firetree.collectives.reduction import Hop, there_and_back


def kary_tree(world_size: int, chunks: int, arity: int) -> list[Hop]:
    """Rank r's parent is (r − 1) // arity; deeper ranks report first, siblings in turn."""
    levels = depth(world_size, arity)
    level = [0] * world_size
    for rank in range(1, world_size):
        level[rank] = level[(rank - 1) // arity] + 1
    return there_and_back(
        chunks,
        (
            Hop(
                chunk * (arity + 1) + (levels - level[rank]) * arity + (rank - 1) % arity,
                rank,
                (rank - 1) // arity,
                chunk,
            )
            for chunk in range(chunks)
            for rank in range(1, world_size)
        ),
    )


def depth(world_size: int, arity: int) -> int:
    """Levels below the root."""
    rank, levels = world_size - 1, 0
    while rank > 0:
        rank, levels = (rank - 1) // arity, levels + 1
    return levels


def most_neighbours(world_size: int, arity: int) -> int:
    """Of the root, or of rank 1, which has the most children of all others: what each sends to."""
    root = min(arity, world_size - 1)
    return max(root, min(1 + arity, world_size - arity))


def kary(arity: int) -> Algorithm:
    """The tree in which every rank has `arity` children at most."""
    return Algorithm(
        lambda world_size, chunks: kary_tree(world_size, chunks, arity),
        chunks=whole,
        steps=lambda world_size, chunks: (
            2 * min(arity, world_size - 1) * depth(world_size, arity)
            + (chunks - 1) * min(arity + 1, world_size - 1)
        ),
        sent_chunks=lambda world_size, chunks: chunks * most_neighbours(world_size, arity),
        one_port=True,
    )
