"""Collectives as data: a schedule is built, proved and run by three small modules."""

from __future__ import annotations

from firetree.collectives.algorithms import ALGORITHMS
from firetree.collectives.algorithms.algorithm import Links
from firetree.collectives.executor import CollectiveError, Executor
from firetree.collectives.graph import ScheduleError
from firetree.collectives.proof import prove
from firetree.collectives.schedule import Operation, Schedule
from firetree.errors import UserError, nearest

__all__ = [
    "ALGORITHMS",
    "CollectiveError",
    "Executor",
    "Links",
    "Operation",
    "Schedule",
    "ScheduleError",
    "build",
    "names",
    "prove",
]


def names() -> tuple[str, ...]:
    """The names of all algorithms that `build` knows."""
    return tuple(sorted(ALGORITHMS))


def build(name: str, world_size: int, chunks: int | None = None) -> Schedule:
    """The schedule of one all-reduce over `chunks` near-equal parts of a buffer.

    Args:
        name: one of `names()`.
        world_size: number of ranks, at least 1.
        chunks: number of parts, at least 1; by default what the algorithm's closed form speaks of.

    Raises:
        UserError: an unknown name, or a number below 1.
    """
    if name not in ALGORITHMS:
        raise UserError(f"no algorithm '{name}'{nearest(name, names())}")
    if chunks is None:
        chunks = ALGORITHMS[name].usual_chunks(world_size)
    if world_size < 1 or chunks < 1:
        raise UserError(f"{world_size} ranks and {chunks} chunks; expected at least one of each")
    return ALGORITHMS[name].build(world_size, chunks)
