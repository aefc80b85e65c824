"""The ring: each share of the buffer is summed once around the ring, then copied once around.

Steps: 2·(p − 1). Bytes sent by every rank: 2·(p − 1)/p·W, the minimum of any all-reduce.
Time on α–β links: 2·(p − 1)·(α + W/(p·BW)).
Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, shares
from firetree.collectives.reduction import Hop


def ring(world_size: int, chunks: int) -> list[Hop]:
    """Chunk k is in share k mod p, whose sum starts at rank k mod p and passes up the ranks."""
    hops = []
    for chunk in range(chunks):
        for step in range(2 * (world_size - 1)):
            sender = (chunk + step) % world_size
            adds = step < world_size - 1
            hops.append(Hop(step, sender, (sender + 1) % world_size, chunk, adds))
    return hops


def _a_share(world_size: int, chunks: int) -> int:
    return -(-chunks // world_size)


RING = Algorithm(
    ring,
    chunks=shares,
    steps=lambda world_size, chunks: 2 * (world_size - 1) * _a_share(world_size, chunks),
    sent_chunks=lambda world_size, chunks: 2 * (world_size - 1) * _a_share(world_size, chunks),
)
