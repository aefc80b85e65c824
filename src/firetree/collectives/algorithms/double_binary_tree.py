"""The double binary tree: two trees with half of the buffer each. An inner rank of one is a leaf of the
other, so all ports are busy, and the latency is logarithmic.

With n chunks and D = ⌊log2 p⌋: steps 4·D + 4 + 2·n at most. Bytes sent by the busiest rank: 2·W.
Time on α–β links: (4·D + 4 + 2·n)·(α + W/(n·BW)), which tends to 2·W/BW.
Source: Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and
scan", 2009; mirrored for even and shifted for odd world sizes as there.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, pipelined
from firetree.collectives.reduction import Hop, there_and_back

SLACK = 16
"""Steps between a chunk's hops: four pairs of chunks are in flight before the first must arrive."""


def double_binary_tree(world_size: int, chunks: int) -> list[Hop]:
    """Even chunks use the in-order tree of the ranks, odd chunks its mirrored or shifted twin."""
    return there_and_back(
        chunks,
        (
            Hop(
                chunk // 2 * 4 + SLACK * _height(rank) + (rank > parent),
                _rank(rank, chunk % 2, world_size),
                _rank(parent, chunk % 2, world_size),
                chunk,
            )
            for chunk in range(chunks)
            for rank in range(world_size)
            if (parent := parent_in_order(rank, world_size)) is not None
        ),
    )


def parent_in_order(rank: int, world_size: int) -> int | None:
    """The parent in the in-order binary tree of the ranks.

    Numbered from 1, a rank's height is its number's count of trailing zero bits; odd ones are leaves.
    """
    number = rank + 1
    for height in range(_height(rank), world_size.bit_length()):
        number = (number & ~(1 << height)) | (2 << height)
        if number <= world_size:
            return number - 1
    return None


def _height(rank: int) -> int:
    number = rank + 1
    return (number & -number).bit_length() - 1


def _rank(index: int, tree: int, world_size: int) -> int:
    if tree == 0:
        return index
    return world_size - 1 - index if world_size % 2 == 0 else (index - 1) % world_size


def _sent_chunks(world_size: int, chunks: int) -> int:
    """By the busiest rank: to each neighbour in either tree, that tree's chunks."""
    sent = [0] * world_size
    for tree, carried in enumerate((-(-chunks // 2), chunks // 2)):
        for index in range(world_size):
            parent = parent_in_order(index, world_size)
            if parent is not None:
                sent[_rank(index, tree, world_size)] += carried
                sent[_rank(parent, tree, world_size)] += carried
    return max(sent)


def _fill_steps(world_size: int) -> int:
    return 4 * world_size.bit_length()


DOUBLE_BINARY_TREE = Algorithm(
    double_binary_tree,
    chunks=lambda world_size, size_bytes: 2 * pipelined(_fill_steps(world_size), 4, size_bytes / 2),
    steps=lambda world_size, chunks: _fill_steps(world_size) + 2 * chunks,
    sent_chunks=_sent_chunks,
)
