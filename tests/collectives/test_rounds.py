"""A rank's program in rounds does what the program does, and both ends of a channel see it alike."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st
from programs import quick, schedules

from firetree.collectives import Schedule, prove
from firetree.collectives.rounds import plan_rounds
from firetree.collectives.schedule import Operation


@st.composite
def ranks_of_schedules(draw: st.DrawFn) -> tuple[Schedule, int]:
    schedule = draw(schedules())
    return schedule, draw(st.integers(0, schedule.world_size - 1))


@quick
@given(ranks_of_schedules())
def test_the_rounds_of_a_rank_hold_each_of_its_transfers_once(drawn: tuple[Schedule, int]) -> None:
    schedule, rank = drawn
    rounds, _ = plan_rounds(prove(schedule), rank)
    moves = [op for round_ in rounds for op, _ in round_.transfers]
    assert Counter(moves) == Counter(schedule.programs[rank])


@quick
@given(ranks_of_schedules())
def test_each_slot_is_added_once_after_its_transfer_and_before_the_next(
    drawn: tuple[Schedule, int],
) -> None:
    schedule, rank = drawn
    rounds, slots = plan_rounds(prove(schedule), rank)
    staged: dict[int, int] = {}
    for round_ in rounds:
        for op, slot in round_.transfers:
            assert (slot is not None) == (op.kind == "recv_reduce")
            if slot is not None:
                assert slot not in staged
                assert 0 <= slot < slots
                staged[slot] = op.chunk
        for chunk, slot in round_.additions:
            assert staged.pop(slot) == chunk
    assert staged == {}


@quick
@given(ranks_of_schedules())
def test_rounds_read_and_write_each_chunk_in_the_order_of_the_program(
    drawn: tuple[Schedule, int],
) -> None:
    schedule, rank = drawn
    happened: dict[int, list[Operation]] = defaultdict(list)
    staged: dict[int, Operation] = {}
    for round_ in plan_rounds(prove(schedule), rank)[0]:
        for op, slot in round_.transfers:
            if slot is None:
                happened[op.chunk].append(op)
            else:
                staged[slot] = op
        for chunk, slot in round_.additions:
            happened[chunk].append(staged[slot])
    for chunk in range(schedule.chunks):
        program = [op for op in schedule.programs[rank] if op.chunk == chunk]
        assert in_any_order_of_sends(happened[chunk]) == in_any_order_of_sends(program)


def in_any_order_of_sends(operations: list[Operation]) -> list[Operation]:
    """The operations with those sends sorted that no write stands between."""
    runs = itertools.groupby(operations, key=lambda op: op.kind == "send")
    return [op for sends, run in runs for op in (sorted(run) if sends else run)]


@quick
@given(ranks_of_schedules())
def test_no_round_overwrites_a_chunk_that_it_also_uses(drawn: tuple[Schedule, int]) -> None:
    schedule, rank = drawn
    for round_ in plan_rounds(prove(schedule), rank)[0]:
        overwritten = Counter(op.chunk for op, _ in round_.transfers if op.kind == "recv")
        used = {op.chunk for op, _ in round_.transfers if op.kind == "send"}
        assert set(overwritten.values()) <= {1}
        assert overwritten.keys().isdisjoint(used | {chunk for chunk, _ in round_.additions})


@quick
@given(schedules())
def test_both_ranks_of_a_channel_group_its_transfers_alike(schedule: Schedule) -> None:
    graph = prove(schedule)
    rounds = [plan_rounds(graph, rank)[0] for rank in range(schedule.world_size)]

    def grouped(rank: int, peer: int, sends: bool) -> list[list[int]]:
        groups = [
            [o.chunk for o, _ in r.transfers if o.peer == peer and (o.kind == "send") == sends]
            for r in rounds[rank]
        ]
        return [group for group in groups if group]

    for sender in range(schedule.world_size):
        for receiver in range(schedule.world_size):
            assert grouped(sender, receiver, True) == grouped(receiver, sender, False)
