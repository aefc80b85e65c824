"""The parameter server, FireCaffe's baseline: one server, or the buffer sharded over k servers.

One server (`parameter_server`): rank 0 sums what all others send and sends the sum back to each.
Steps: 2·(p − 1). Bytes sent by the busiest rank (the server): (p − 1)·W. Time on α–β links:
2·(p − 1)·(α + W/BW). Source: FireCaffe (Iandola et al., CVPR 2016), section 5.1; here the server is
a rank itself.

Sharded over the first k ranks (`sharded_parameter_server:k`, by default k = p), each with W/k:
steps 2·(p − 1) messages a server, bytes (p − 1)/k·W + (k − 1)/k·W, time 2·(p − 1)·(α + W/(k·BW)) as
long as the servers' ports are the busiest. With n chunks a server the steps are at least
(n + 1)·(p − 1), and at least the (p + k − 2)·n chunks that it sends. With k = p this is a direct
exchange: every port is equally busy, and a message waits for at most one other. Source: Li et al.,
"Scaling distributed machine learning with the parameter server", 2014.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, shares, whole
from firetree.collectives.reduction import Hop, there_and_back


def parameter_server(world_size: int, chunks: int, servers: int = 1) -> list[Hop]:
    """Chunk k belongs to server k mod `servers`; its next rank reports first, then the one after."""
    return there_and_back(
        chunks,
        (
            Hop(
                chunk // servers * (world_size - 1) + distance - 1,
                (chunk % servers + distance) % world_size,
                chunk % servers,
                chunk,
            )
            for chunk in range(chunks)
            for distance in range(1, world_size)
        ),
    )


def sharded(servers: int | None) -> Algorithm:
    """A parameter server over `servers` ranks, by default over all."""

    def number(world_size: int) -> int:
        return min(servers or world_size, world_size)

    def sent_chunks(world_size: int, chunks: int) -> int:
        """The first server owns the most: it answers to all for these, and pushes the others."""
        owned = -(-chunks // number(world_size))
        return owned * (world_size - 1) + chunks - owned

    def steps(world_size: int, chunks: int) -> int:
        owned = -(-chunks // number(world_size))
        return max((owned + 1) * (world_size - 1), sent_chunks(world_size, chunks))

    return Algorithm(
        lambda world_size, chunks: parameter_server(world_size, chunks, number(world_size)),
        chunks=lambda world_size, size_bytes: shares(number(world_size), size_bytes),
        steps=steps,
        sent_chunks=sent_chunks,
    )


PARAMETER_SERVER = Algorithm(
    parameter_server,
    chunks=whole,
    steps=lambda world_size, chunks: (chunks + 1) * (world_size - 1),
    sent_chunks=lambda world_size, chunks: chunks * (world_size - 1),
    one_port=True,
)
