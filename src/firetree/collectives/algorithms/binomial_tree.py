"""The binomial reduction tree: sum towards rank 0, then broadcast back along the same edges.

Steps: 2·⌈log2 p⌉. Bytes sent by the busiest rank (the root): ⌈log2 p⌉·W.
Time on α–β links: 2·⌈log2 p⌉·(α + W/BW).
Source: FireCaffe (Iandola et al., CVPR 2016), section 5.2, its "reduction tree".
"""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm, Cost, Links
from firetree.collectives.schedule import Operation, Program, Schedule, recv, recv_reduce, send


def binomial_tree(world_size: int, chunks: int) -> Schedule:
    """Rank r's parent is r without its lowest set bit; the nearest children report first."""
    programs = tuple(_program(rank, world_size, chunks) for rank in range(world_size))
    return Schedule(world_size, chunks, programs)


def _program(rank: int, world_size: int, chunks: int) -> Program:
    lowest_bit = rank & -rank if rank else 1 << _depth(world_size)
    children = [rank + (1 << k) for k in range(lowest_bit.bit_length() - 1)]
    children = [child for child in children if child < world_size]
    parents = [rank - lowest_bit] if rank else []
    operations: list[Operation] = []
    for chunk in range(chunks):
        operations += [recv_reduce(child, chunk) for child in children]
        operations += [send(parent, chunk) for parent in parents]
    for chunk in range(chunks):
        operations += [recv(parent, chunk) for parent in parents]
        operations += [send(child, chunk) for child in reversed(children)]
    return tuple(operations)


def _depth(world_size: int) -> int:
    return (world_size - 1).bit_length()


def _cost(world_size: int, size_bytes: float, links: Links) -> Cost:
    depth = _depth(world_size)
    step_s = links.latency_s + size_bytes / links.rate_bytes_s
    return Cost(2 * depth, depth * size_bytes, 2 * depth * step_s)


BINOMIAL_TREE = Algorithm(binomial_tree, usual_chunks=lambda world_size: 1, cost=_cost)
