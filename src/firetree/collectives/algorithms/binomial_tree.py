"""The binomial reduction tree: sum towards rank 0, then broadcast back along the same edges.

Steps: 2·⌈log2 p⌉. Bytes sent by the busiest rank (the root): ⌈log2 p⌉·W.
Time on α–β links: 2·⌈log2 p⌉·(α + W/BW).
Source: FireCaffe (Iandola et al., CVPR 2016), section 5.2, its "reduction tree".
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, whole
from firetree.collectives.reduction import Hop, there_and_back


def binomial_tree(world_size: int, chunks: int) -> list[Hop]:
    """Rank r's parent is r without its lowest set bit; the nearest children report first."""
    depth = _depth(world_size)
    return there_and_back(
        chunks,
        (
            Hop(chunk * depth + _lowest_bit(rank), rank, rank & (rank - 1), chunk)
            for chunk in range(chunks)
            for rank in range(1, world_size)
        ),
    )


def _lowest_bit(rank: int) -> int:
    return (rank & -rank).bit_length() - 1


def _depth(world_size: int) -> int:
    return (world_size - 1).bit_length()


BINOMIAL_TREE = Algorithm(
    binomial_tree,
    chunks=whole,
    steps=lambda world_size, chunks: (chunks + 1) * _depth(world_size),
    sent_chunks=lambda world_size, chunks: chunks * _depth(world_size),
    one_port=True,
)
