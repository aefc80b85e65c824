"""Collectives as data: `build` makes a schedule, `prove` proves it correct, `Executor` runs it.

Only `Executor` needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.collectives.algorithms import ALGORITHMS, find
from firetree.collectives.algorithms.algorithm import LinkGraph
from firetree.collectives.graph import ScheduleError
from firetree.collectives.proof import prove
from firetree.collectives.reduction import collective
from firetree.collectives.schedule import Collective, Operation, Schedule
from firetree.errors import UserError
from firetree.lazy import lazily

if TYPE_CHECKING:
    from firetree.collectives.executor import Executor

__all__ = [
    "Executor",
    "LinkGraph",
    "Operation",
    "Schedule",
    "ScheduleError",
    "build",
    "chunks_for",
    "find",
    "names",
    "prove",
]

__getattr__ = lazily(__name__, {"Executor": "executor"})


def names() -> tuple[str, ...]:
    """The names of all algorithms, each without its number."""
    return tuple(sorted(ALGORITHMS))


def build(
    name: str,
    world_size: int,
    chunks: int | None = None,
    kind: Collective = "all_reduce",
) -> Schedule:
    """The schedule of a collective over `chunks` near-equal parts of a buffer.

    Args:
        name: one of `names()`, or one with a number, as in `kary_tree:4`.
        world_size: number of ranks, at least 1.
        chunks: number of chunks, at least 1; by default the fewest that the algorithm uses. See
            `chunks_for` for a buffer's size.
        kind: an all-reduce, or one of its halves.

    Raises:
        UserError: an unknown name, a number below 1, or a half that the algorithm lacks.
    """
    if chunks is None:
        chunks = chunks_for(name, world_size, 0)
    if world_size < 1 or chunks < 1:
        raise UserError(f"{world_size} ranks and {chunks} chunks; expected at least one of each")
    algorithm = find(name)
    hops = algorithm.hops(world_size, chunks)
    return collective(kind, world_size, chunks, hops, algorithm.one_port)


def chunks_for(name: str, world_size: int, size_bytes: float) -> int:
    """The best number of chunks for a buffer: see `pipelined` and `shares` in `algorithms`."""
    return find(name).chunks(max(world_size, 1), size_bytes)
