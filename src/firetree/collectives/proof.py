"""Prove a schedule correct by running it symbolically, with each chunk a multiset of ranks.

Nothing is timed or sent; `executor` does that. A schedule is correct if its graph has no cycle, and if
every chunk of every rank ends with the contributions of its collective, once each. Without a cycle it
never blocks, even if a send returns only after its receive is posted.
"""

from __future__ import annotations

from firetree.collectives.graph import Graph, ScheduleError, build_graph
from firetree.collectives.schedule import Schedule

# A multiset of ranks is one integer: rank r's count is in the COUNT_BITS bits from r * COUNT_BITS.
# The highest of these bits stays 0, so that the sum of two counts never overflows into the next rank's.
COUNT_BITS = 32


def prove(schedule: Schedule) -> Graph:
    """Prove that `schedule` computes its collective and never blocks, and return its graph.

    Raises:
        ScheduleError: it does not, with the rank, the operation and the reason.
    """
    _check_shape(schedule)
    graph = build_graph(schedule)
    held = _run(schedule, graph)
    for rank, chunks in enumerate(held):
        for chunk, contributions in enumerate(chunks):
            expected = _expected(schedule, rank, chunk)
            if expected is not None and contributions != expected:
                _refuse(schedule, rank, chunk, contributions, expected)
    return graph


def _check_shape(schedule: Schedule) -> None:
    reason = None
    if schedule.world_size < 1 or schedule.chunks < 1:
        reason = f"{schedule.world_size} ranks and {schedule.chunks} chunks; expected at least one"
    elif len(schedule.programs) != schedule.world_size:
        reason = f"{len(schedule.programs)} programs for {schedule.world_size} ranks"
    elif schedule.collective != "all_reduce" and len(schedule.owners) != schedule.chunks:
        reason = f"{len(schedule.owners)} owners of {schedule.chunks} chunks"
    elif strangers := {*schedule.owners}.difference(range(schedule.world_size)):
        reason = f"owner {min(strangers)}; expected a rank from 0 to {schedule.world_size - 1}"
    if reason:
        raise ScheduleError(0, None, None, reason)


def _expected(schedule: Schedule, rank: int, chunk: int) -> int | None:
    """The multiset that the chunk must hold at the end; None if any is allowed."""
    everyone = _once_each(schedule.world_size)
    match schedule.collective:
        case "all_reduce":
            return everyone
        case "reduce" | "reduce_scatter":
            return everyone if rank == schedule.owners[chunk] else None
        case "broadcast" | "all_gather":
            return 1 << (COUNT_BITS * schedule.owners[chunk])


def _once_each(world_size: int) -> int:
    return ((1 << COUNT_BITS * world_size) - 1) // ((1 << COUNT_BITS) - 1)


def _run(schedule: Schedule, graph: Graph) -> list[list[int]]:
    free_bits = _once_each(schedule.world_size) << (COUNT_BITS - 1)
    held = [[1 << (COUNT_BITS * r)] * schedule.chunks for r in range(schedule.world_size)]
    in_flight: dict[int, int] = {}
    for event in graph.order:
        transfer = graph.transfers[event // 2]
        if event % 2 == 0:
            in_flight[event // 2] = held[transfer.sender][transfer.chunk]
        elif transfer.reduces:
            held[transfer.receiver][transfer.chunk] += in_flight.pop(event // 2)
            if held[transfer.receiver][transfer.chunk] & free_bits:
                operation = schedule.programs[transfer.receiver][transfer.receive_index]
                reason = f"counts a rank's contribution 2^{COUNT_BITS - 1} times or more"
                raise ScheduleError(transfer.receiver, transfer.receive_index, operation, reason)
        else:
            held[transfer.receiver][transfer.chunk] = in_flight.pop(event // 2)
    return held


def _refuse(schedule: Schedule, rank: int, chunk: int, contributions: int, expected: int) -> None:
    def count(multiset: int, of_rank: int) -> int:
        return (multiset >> (COUNT_BITS * of_rank)) & ((1 << COUNT_BITS) - 1)

    wrong = next(
        r for r in range(schedule.world_size) if count(contributions, r) != count(expected, r)
    )
    times = count(contributions, wrong)
    what = "is missing" if times == 0 else f"is counted {times} times"
    program = schedule.programs[rank]
    writes = [i for i, op in enumerate(program) if op.chunk == chunk and op.kind != "send"]
    index = writes[-1] if writes else None
    operation = program[index] if index is not None else None
    reason = f"chunk {chunk} ends wrong: the contribution of rank {wrong} {what}"
    raise ScheduleError(rank, index, operation, reason)
