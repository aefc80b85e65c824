"""Prove a schedule by running it symbolically, each chunk a multiset of the ranks it holds.

Nothing is timed and nothing is sent: see `executor` for the real run. A schedule passes when its
graph has no cycle (so it never blocks, not even where a send ends only once its receive is posted)
and every chunk of every rank ends with every rank's contribution exactly once.
"""

from __future__ import annotations

from firetree.collectives.graph import Graph, ScheduleError, build_graph
from firetree.collectives.schedule import Schedule

# A multiset of ranks is one integer: rank r's count stands in the COUNT_BITS bits from r * COUNT_BITS.
COUNT_BITS = 32


def prove(schedule: Schedule) -> Graph:
    """Show that `schedule` is an all-reduce that never blocks, and give back its graph.

    Raises:
        ScheduleError: it is not; names the rank, the operation and the reason.
    """
    if schedule.world_size < 1 or schedule.chunks < 1:
        reason = f"{schedule.world_size} ranks and {schedule.chunks} chunks; expected at least one"
        raise ScheduleError(0, None, None, reason)
    if len(schedule.programs) != schedule.world_size:
        reason = f"{len(schedule.programs)} programs for {schedule.world_size} ranks"
        raise ScheduleError(0, None, None, reason)
    graph = build_graph(schedule)
    held = _run(schedule, graph)
    everyone = sum(1 << (COUNT_BITS * rank) for rank in range(schedule.world_size))
    for rank, chunks in enumerate(held):
        for chunk, contributions in enumerate(chunks):
            if contributions != everyone:
                _refuse(schedule, rank, chunk, contributions)
    return graph


def _run(schedule: Schedule, graph: Graph) -> list[list[int]]:
    held = [[1 << (COUNT_BITS * r)] * schedule.chunks for r in range(schedule.world_size)]
    in_flight: dict[int, int] = {}
    for event in graph.order:
        transfer = graph.transfers[event // 2]
        if event % 2 == 0:
            in_flight[event // 2] = held[transfer.sender][transfer.chunk]
        elif transfer.reduces:
            held[transfer.receiver][transfer.chunk] += in_flight.pop(event // 2)
        else:
            held[transfer.receiver][transfer.chunk] = in_flight.pop(event // 2)
    return held


def _refuse(schedule: Schedule, rank: int, chunk: int, contributions: int) -> None:
    counts = [
        (contributions >> (COUNT_BITS * r)) & ((1 << COUNT_BITS) - 1)
        for r in range(schedule.world_size)
    ]
    wrong = next(r for r, count in enumerate(counts) if count != 1)
    times = "is missing" if counts[wrong] == 0 else f"is counted {counts[wrong]} times"
    program = schedule.programs[rank]
    writes = [i for i, op in enumerate(program) if op.chunk == chunk and op.kind != "send"]
    index = writes[-1] if writes else None
    operation = program[index] if index is not None else None
    reason = f"chunk {chunk} ends wrong: the contribution of rank {wrong} {times}"
    raise ScheduleError(rank, index, operation, reason)
