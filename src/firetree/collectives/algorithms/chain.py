"""The pipelined chain: sums of chunks pass down the ranks to rank 0, and results return meanwhile.

With n chunks: steps 2·(p − 1) + 2·(n − 1); n + 1 for two ranks. Bytes sent by the busiest rank (all
but the ends): 2·W, by the two ends: W. Time on α–β links: 2·(p + n − 2)·(α + W/(n·BW)), which tends to
2·W/BW. Each link carries the buffer once in each direction. So a slow host at an end, or a slow uplink in
the middle, takes W/BW.
Source: the pipelined chain of Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth
broadcast, reduction and scan", 2009, with the way back overlapped.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, pipelined
from firetree.collectives.algorithms.kary_tree import kary_tree
from firetree.collectives.reduction import Hop


def chain(world_size: int, chunks: int) -> list[Hop]:
    """Rank r reports to rank r − 1; a chunk starts when the one before has left the port."""
    return kary_tree(world_size, chunks, arity=1)


def _a_chunk(world_size: int) -> int:
    return min(2, world_size - 1)


CHAIN = Algorithm(
    chain,
    chunks=lambda world_size, size_bytes: pipelined(2 * (world_size - 2), 2, size_bytes),
    steps=lambda world_size, chunks: 2 * (world_size - 1) + _a_chunk(world_size) * (chunks - 1),
    sent_chunks=lambda world_size, chunks: _a_chunk(world_size) * chunks,
)
