"""The parameter server: rank 0 sums what all others send and sends the sum back to each.

The baseline that FireCaffe argues against: everything crosses one port. Steps: 2·(p − 1). Bytes sent
by the busiest rank (the server): (p − 1)·W. Time on α–β links: 2·(p − 1)·(α + W/BW).
Source: FireCaffe (Iandola et al., CVPR 2016), section 5.1; here the server is a rank itself.
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, Cost, Links
from firetree.collectives.schedule import Schedule, recv, recv_reduce, send


def parameter_server(world_size: int, chunks: int) -> Schedule:
    """Rank 0 is the server; it adds the workers' shares in the order of their ranks."""
    workers = range(1, world_size)
    sums = [recv_reduce(worker, chunk) for chunk in range(chunks) for worker in workers]
    answers = [send(worker, chunk) for chunk in range(chunks) for worker in workers]
    pushes = [send(0, chunk) for chunk in range(chunks)]
    pulls = [recv(0, chunk) for chunk in range(chunks)]
    programs = (tuple(sums + answers), *(tuple(pushes + pulls) for _ in workers))
    return Schedule(world_size, chunks, programs)


def _cost(world_size: int, size_bytes: float, links: Links) -> Cost:
    steps = 2 * (world_size - 1)
    step_s = links.latency_s + size_bytes / links.rate_bytes_s
    return Cost(steps, (world_size - 1) * size_bytes, steps * step_s)


PARAMETER_SERVER = Algorithm(parameter_server, usual_chunks=lambda world_size: 1, cost=_cost)
