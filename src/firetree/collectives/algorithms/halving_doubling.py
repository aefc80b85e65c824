"""Recursive halving and doubling: ranks exchange halves of the rest with ever nearer partners.

For p a power of two: 2·log2 p rounds that wait for one another, 2·(p − 1) messages as each share is
one of its own. Bytes sent by every rank: 2·(p − 1)/p·W. Time on α–β links: 2·(p − 1)·(α + W/(p·BW)),
of which only 2·log2 p times α where messages to one partner overlap. Other world sizes: with q the
largest power of two below p, each of the p − q ranks beyond hands every share straight to its owner
among the first q; the busiest owner sends (q − 1)/q·W and (p − 1)/q·W.
Source: Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; spreading the
ranks beyond q over all owners is ours, the paper folds each into one partner first.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, shares
from firetree.collectives.reduction import Hop, there_and_back


def halving_doubling(world_size: int, chunks: int) -> list[Hop]:
    """Chunk k belongs to share k mod q, owned by rank k mod q; the farthest partner comes first."""
    core = _core(world_size)
    rounds = core.bit_length() - 1
    hops = []
    for chunk in range(chunks):
        owner = chunk % core
        for distance in range(1, core):
            # `distance` is the XOR with the owner's rank; each round clears its highest bit.
            highest = distance.bit_length() - 1
            step = (rounds - 1 - highest) * core + distance
            sender = owner ^ distance
            hops.append(Hop(step, sender, sender ^ (1 << highest), chunk))
        for extra in range(core, world_size):
            turn = (owner + extra) % (world_size - core)
            hops.append(Hop(rounds * core + turn, extra, owner, chunk))
    return there_and_back(chunks, hops)


def _core(world_size: int) -> int:
    return 1 << (world_size.bit_length() - 1)


def _sent_chunks(world_size: int, chunks: int) -> int:
    """For the busiest owner: it sends all shares but its own, then its own sum to all others."""
    core = _core(world_size)
    return -(-chunks // core) * (core - 1 + world_size - 1)


def _steps(world_size: int, chunks: int) -> int:
    core = _core(world_size)
    return 2 * -(-chunks // core) * (core - 1 if world_size == core else world_size)


HALVING_DOUBLING = Algorithm(
    halving_doubling,
    chunks=lambda world_size, size_bytes: shares(_core(world_size), size_bytes),
    steps=_steps,
    sent_chunks=_sent_chunks,
)
