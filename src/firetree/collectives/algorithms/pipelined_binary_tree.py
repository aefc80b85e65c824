"""The pipelined binary tree: a binary tree that starts the next chunk before the last has returned.

With n chunks and D = ⌊log2 p⌋ levels below the root: steps 4·D + 3·(n − 1) at most. Bytes sent by the
busiest rank (an inner one): 3·W. Time on α–β links: (4·D + 3·n − 3)·(α + W/(n·BW)), which tends to
3·W/BW: 1.5 times the chain's time, but with logarithmic latency.
Source: Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and
scan", 2009, section 1, with reduction and broadcast overlapped.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, pipelined
from firetree.collectives.algorithms.kary_tree import depth, kary_tree, most_neighbours
from firetree.collectives.reduction import Hop


def pipelined_binary_tree(world_size: int, chunks: int) -> list[Hop]:
    """Rank r reports to rank (r − 1) // 2; a chunk starts when the one before has left the port."""
    return kary_tree(world_size, chunks, arity=2)


PIPELINED_BINARY_TREE = Algorithm(
    pipelined_binary_tree,
    chunks=lambda world_size, size_bytes: pipelined(4 * depth(world_size, 2) - 3, 3, size_bytes),
    steps=lambda world_size, chunks: 4 * depth(world_size, 2) + 3 * (chunks - 1),
    sent_chunks=lambda world_size, chunks: chunks * most_neighbours(world_size, 2),
)
