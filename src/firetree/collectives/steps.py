"""A schedule step by step: the messages of each step, and what every rank holds after it.

Nothing is proved or timed here (see `proof` and `firetree.planning`), so this takes any schedule without
a deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from firetree.collectives.graph import Transfer, applied, build_graph, moved
from firetree.collectives.schedule import Schedule
from firetree.errors import UserError

MOST_RANKS = 64
MOST_TRANSFERS = 4000


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """A chunk sent from one rank to another.

    `carries` lists the ranks whose contributions it contains. It `waits` if the receiver adds it only in
    a later step, after the additions that come before it.
    """

    sender: int
    receiver: int
    chunk: int
    adds: bool
    carries: tuple[int, ...]
    waits: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The messages of a step, and after it the number of ranks' contributions in `held[rank][chunk]`."""

    number: int
    messages: tuple[Message, ...]
    held: tuple[tuple[int, ...], ...]


def steps(schedule: Schedule) -> tuple[Step, ...]:
    """Step 0 before all transfers, then each transfer as early as its dependencies allow.

    Only dependencies count: a rank may send and receive several messages in one step.

    Raises:
        UserError: too many ranks or transfers to show.
        ScheduleError: the schedule is malformed or deadlocks.
    """
    _refuse_crowds(schedule)
    graph = build_graph(schedule)
    held = [[1 << rank] * schedule.chunks for rank in range(schedule.world_size)]
    in_flight: dict[int, int] = {}
    found = [Step(0, (), _count(held))]
    in_steps = sorted(graph.order, key=graph.level.__getitem__)
    for number, events in groupby(in_steps, key=graph.level.__getitem__):
        messages = []
        for event in events:
            index = event // 2
            transfer = graph.transfers[index]
            if event == moved(index):
                in_flight[index] = held[transfer.sender][transfer.chunk]
                waits = graph.level[applied(index)] > number
                messages.append(_message(transfer, in_flight[index], waits))
            else:
                kept = held[transfer.receiver][transfer.chunk] if transfer.reduces else 0
                held[transfer.receiver][transfer.chunk] = kept | in_flight.pop(index)
        found.append(Step(number, tuple(sorted(messages)), _count(held)))
    return tuple(found)


def _message(transfer: Transfer, ranks: int, waits: bool) -> Message:
    sender, receiver = transfer.sender, transfer.receiver
    carries = tuple(rank for rank in range(ranks.bit_length()) if ranks >> rank & 1)
    return Message(sender, receiver, transfer.chunk, transfer.reduces, carries, waits)


def _count(held: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ranks.bit_count() for ranks in chunks) for chunks in held)


def _refuse_crowds(schedule: Schedule) -> None:
    transfers = sum(map(len, schedule.programs)) // 2
    if schedule.world_size > MOST_RANKS or transfers > MOST_TRANSFERS:
        raise UserError(
            f"{transfers} transfers between {schedule.world_size} ranks are too many to show; "
            f"expected at most {MOST_TRANSFERS} between {MOST_RANKS}: "
            "ask for a smaller world size or fewer chunks"
        )
