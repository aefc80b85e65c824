"""The ring: each share of the buffer is summed on one way round and handed out on the next.

Steps: 2·(p − 1). Bytes sent by every rank: 2·(p − 1)/p·W, the least that any all-reduce can do with.
Time on α–β links: 2·(p − 1)·(α + W/(p·BW)).
Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, Cost, Links
from firetree.collectives.schedule import Operation, Program, Schedule, recv, recv_reduce, send


def ring(world_size: int, chunks: int) -> Schedule:
    """Chunk k belongs to share k mod p, whose sum begins at rank k mod p and goes up the ranks."""
    programs = tuple(_program(rank, world_size, chunks) for rank in range(world_size))
    return Schedule(world_size, chunks, programs)


def _program(rank: int, world_size: int, chunks: int) -> Program:
    right, left = (rank + 1) % world_size, (rank - 1) % world_size
    operations: list[Operation] = []
    for receive, first_share in ((recv_reduce, rank), (recv, rank + 1)):
        for step in range(world_size - 1):
            outgoing = (first_share - step) % world_size
            incoming = (outgoing - 1) % world_size
            operations += [send(right, chunk) for chunk in range(outgoing, chunks, world_size)]
            operations += [receive(left, chunk) for chunk in range(incoming, chunks, world_size)]
    return tuple(operations)


def _cost(world_size: int, size_bytes: float, links: Links) -> Cost:
    steps = 2 * (world_size - 1)
    sent_bytes = steps * size_bytes / world_size
    return Cost(steps, sent_bytes, steps * links.latency_s + sent_bytes / links.rate_bytes_s)


RING = Algorithm(ring, usual_chunks=lambda world_size: world_size, cost=_cost)
