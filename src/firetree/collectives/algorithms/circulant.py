"""Reduction over circulant graphs: as few bytes as the ring, as few rounds as halving and doubling.

Works alike for every world size, not only powers of two: 2·⌈log2 p⌉ rounds that wait for one another,
2·(p − 1) messages as each share is one of its own. Bytes sent by every rank: 2·(p − 1)/p·W. Time on
α–β links: 2·(p − 1)·(α + W/(p·BW)), of which only 2·⌈log2 p⌉ times α where messages overlap.
Source: Träff, "Optimal, non-pipelined reduce-scatter and allreduce algorithms", arXiv 2410.14234.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, shares
from firetree.collectives.reduction import Hop, there_and_back


def circulant(world_size: int, chunks: int) -> list[Hop]:
    """Rank k mod p owns chunk k; sums of ranks at distance d from the owner pass on to about d/2."""
    skips = _skips(world_size)
    hops = []
    for chunk in range(chunks):
        owner = chunk % world_size
        for distance in range(1, world_size):
            round_ = next(k for k, skip in enumerate(skips) if skip <= distance)
            sender = (owner - distance) % world_size
            receiver = (sender + skips[round_]) % world_size
            hops.append(Hop(round_ * world_size + distance, sender, receiver, chunk))
    return there_and_back(chunks, hops)


def _skips(world_size: int) -> list[int]:
    """⌈p/2⌉, half of that rounded up, and so on to 1."""
    skips = []
    while world_size > 1:
        world_size = -(-world_size // 2)
        skips.append(world_size)
    return skips


def _sent_chunks(world_size: int, chunks: int) -> int:
    return 2 * (world_size - 1) * -(-chunks // world_size)


CIRCULANT = Algorithm(circulant, chunks=shares, steps=_sent_chunks, sent_chunks=_sent_chunks)
