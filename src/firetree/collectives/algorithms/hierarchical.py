"""Reduce within racks, then across them: each rack sums at its leader, and the leaders form a ring. So an
uplink carries as little as possible.

`hierarchical:m` has racks of m consecutive ranks, by default of ⌈√p⌉. With n chunks and R racks: steps
2·(m − 1) + 2·(R − 1) + 3·(n − 1) + 2 at most, as a leader sends a chunk down once and across once or
twice. Bytes sent by the busiest rank (a leader): W + 2·(R − 1)/R·W; by each uplink: 2·(R − 1)/R·W.
Time on α–β links: (2·(m + R) + 3·n − 5)·(α + W/(n·BW)) where the uplinks are no slower.
Source: the multilevel reductions of Karonis et al., "Exploiting hierarchy in parallel computer
networks to optimize collective operation performance", 2000, pipelined here.
"""

from __future__ import annotations

import math

from firetree.collectives.algorithms.algorithm import Algorithm, pipelined
from firetree.collectives.reduction import Hop

SLACK = 8
"""Steps between a chunk's hops: four chunks are in flight before the first's result is due."""


def hierarchical(world_size: int, chunks: int, rack_size: int) -> list[Hop]:
    """A chain in each rack towards its first rank; a ring of these, chunk k ending at k − 1 mod R."""
    leaders = range(0, world_size, rack_size)
    turns = 2 * (len(leaders) - 1)
    hops = []
    for chunk in range(chunks):
        around = 2 * chunk + SLACK * (rack_size - 1)
        for rank in range(world_size):
            below = rank % rack_size
            if below:
                out, back = around - SLACK * below, around + SLACK * (turns + below - 1)
                hops.append(Hop(out, rank, rank - 1, chunk))
                hops.append(Hop(back, rank - 1, rank, chunk, adds=False))
        for step in range(turns):
            sender = leaders[(chunk + step) % len(leaders)]
            receiver = leaders[(chunk + step + 1) % len(leaders)]
            hops.append(Hop(around + SLACK * step, sender, receiver, chunk, adds=step < turns // 2))
    return hops


def racks_of(rack_size: int | None) -> Algorithm:
    """Racks of `rack_size` consecutive ranks each, by default of ⌈√p⌉; the last may be smaller."""

    def size(world_size: int) -> int:
        return min(rack_size or math.ceil(math.sqrt(world_size)), world_size)

    def racks(world_size: int) -> int:
        return -(-world_size // size(world_size))

    def fill_steps(world_size: int) -> int:
        return 2 * (size(world_size) + racks(world_size) - 2)

    def chunks(world_size: int, size_bytes: float) -> int:
        # Two steps a chunk, not three: latencies overlap, so in simulation more chunks are a little faster.
        number = pipelined(fill_steps(world_size) - 2, 2, size_bytes)
        return -(-number // racks(world_size)) * racks(world_size)

    def sent_chunks(world_size: int, chunks: int) -> int:
        """A leader sends each chunk once around for the sum and once for the copy, but its own two."""
        across = 2 * (chunks - chunks // racks(world_size))
        leader = across if racks(world_size) > 1 else 0
        inside = chunks if size(world_size) > 1 else 0
        return max(leader + inside, 2 * chunks if size(world_size) > 2 else 0)

    return Algorithm(
        lambda world_size, chunks: hierarchical(world_size, chunks, size(world_size)),
        chunks=chunks,
        steps=lambda world_size, chunks: fill_steps(world_size) + 3 * (chunks - 1) + 2,
        sent_chunks=sent_chunks,
    )
