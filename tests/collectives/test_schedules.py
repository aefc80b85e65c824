"""Schedules as data: proved for every world size, refused when damaged, readable again from JSON."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Operation, Schedule, ScheduleError, prove
from firetree.collectives.graph import applied, moved
from firetree.collectives.schedule import busiest_sent_chunks, chunk_bounds, recv, recv_reduce, send
from firetree.errors import UserError

algorithms = st.sampled_from(collectives.names())


@pytest.mark.parametrize("world_size", range(1, 65))
@pytest.mark.parametrize("algorithm", collectives.names())
def test_every_algorithm_is_an_all_reduce_at_every_world_size(
    algorithm: str, world_size: int
) -> None:
    prove(collectives.build(algorithm, world_size))


@settings(max_examples=150, deadline=None)
@given(algorithms, st.integers(1, 24), st.integers(1, 33))
def test_any_chunk_count_is_proved(algorithm: str, world_size: int, chunks: int) -> None:
    schedule = collectives.build(algorithm, world_size, chunks)
    assert (schedule.world_size, schedule.chunks) == (world_size, chunks)
    prove(schedule)


@settings(max_examples=40, deadline=None)
@given(algorithms, st.integers(1, 12), st.integers(1, 9))
def test_json_gives_back_the_same_schedule(algorithm: str, world_size: int, chunks: int) -> None:
    schedule = collectives.build(algorithm, world_size, chunks)
    assert Schedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8, 13, 16, 64])
@pytest.mark.parametrize("algorithm", collectives.names())
def test_closed_form_of_bytes_equals_the_schedule(algorithm: str, world_size: int) -> None:
    schedule = collectives.build(algorithm, world_size)
    links = collectives.Links(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.ALGORITHMS[algorithm].cost(world_size, schedule.chunks, links)
    assert busiest_sent_chunks(schedule) == cost.sent_bytes


def one_port_rounds(schedule: Schedule) -> int:
    """Rounds that are needed when a rank sends one message and receives one at a time."""
    graph = prove(schedule)
    over: set[int] = set()
    waiting = list(range(len(graph.transfers)))
    rounds = 0
    while waiting:
        ready = [
            t for t in waiting if over.issuperset(graph.before_sending[t] + graph.before_landing[t])
        ]
        ready.sort(key=lambda t: graph.transfers[t].send_index)
        senders, receivers, moved_now = set(), set(), []
        for t in ready:
            transfer = graph.transfers[t]
            if transfer.sender not in senders and transfer.receiver not in receivers:
                senders.add(transfer.sender)
                receivers.add(transfer.receiver)
                moved_now.append(t)
        waiting = [t for t in waiting if t not in moved_now]
        over |= {moved(t) for t in moved_now}
        landed = [t for t in range(len(graph.transfers)) if moved(t) in over]
        for _ in landed:
            over |= {applied(t) for t in landed if over.issuperset(graph.before_applying[t])}
        rounds += 1
    return rounds


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8, 13, 16])
@pytest.mark.parametrize("algorithm", collectives.names())
def test_closed_form_of_steps_equals_the_rounds_of_one_port(
    algorithm: str, world_size: int
) -> None:
    schedule = collectives.build(algorithm, world_size)
    links = collectives.Links(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.ALGORITHMS[algorithm].cost(world_size, schedule.chunks, links)
    assert one_port_rounds(schedule) == cost.steps


def with_program(schedule: Schedule, rank: int, program: list[Operation]) -> Schedule:
    programs = list(schedule.programs)
    programs[rank] = tuple(program)
    return dataclasses.replace(schedule, programs=tuple(programs))


@st.composite
def schedules_and_places(draw: st.DrawFn) -> tuple[Schedule, int, int]:
    schedule = collectives.build(
        draw(algorithms), draw(st.integers(2, 12)), draw(st.integers(1, 8))
    )
    rank = draw(st.sampled_from([r for r, program in enumerate(schedule.programs) if program]))
    return schedule, rank, draw(st.integers(0, len(schedule.programs[rank]) - 1))


@settings(max_examples=150, deadline=None)
@given(schedules_and_places())
def test_a_dropped_operation_is_refused(place: tuple[Schedule, int, int]) -> None:
    schedule, rank, index = place
    program = list(schedule.programs[rank])
    del program[index]
    with pytest.raises(ScheduleError) as refusal:
        prove(with_program(schedule, rank, program))
    assert refusal.value.operation is not None


@settings(max_examples=150, deadline=None)
@given(schedules_and_places())
def test_a_doubled_operation_is_refused(place: tuple[Schedule, int, int]) -> None:
    schedule, rank, index = place
    program = list(schedule.programs[rank])
    program.insert(index, program[index])
    with pytest.raises(ScheduleError) as refusal:
        prove(with_program(schedule, rank, program))
    assert refusal.value.operation is not None


@settings(max_examples=150, deadline=None)
@given(schedules_and_places(), st.data())
def test_an_operation_with_a_wrong_peer_is_refused(
    place: tuple[Schedule, int, int], data: st.DataObject
) -> None:
    schedule, rank, index = place
    program = list(schedule.programs[rank])
    wrong = data.draw(
        st.integers(-1, schedule.world_size).filter(lambda peer: peer != program[index].peer)
    )
    program[index] = program[index]._replace(peer=wrong)
    with pytest.raises(ScheduleError) as refusal:
        prove(with_program(schedule, rank, program))
    assert refusal.value.operation is not None
    assert f"rank {refusal.value.rank}, operation {refusal.value.index}" in str(refusal.value)


def one_way_sums(schedule: Schedule) -> list[list[int]]:
    """What each rank's chunks sum to when operations run one by one, as far as they can.

    An independent run by rendezvous: an operation is carried out only when the other side stands
    at its counterpart. Raises RuntimeError where nothing can go on.
    """
    held = [[1 << rank * 8] * schedule.chunks for rank in range(schedule.world_size)]
    place = [0] * schedule.world_size
    while any(at < len(p) for at, p in zip(place, schedule.programs, strict=True)):
        for rank, program in enumerate(schedule.programs):
            if place[rank] == len(program) or program[place[rank]].kind != "send":
                continue
            op = program[place[rank]]
            answer = schedule.programs[op.peer][place[op.peer] : place[op.peer] + 1]
            if answer and answer[0].kind != "send" and answer[0][1:] == (rank, op.chunk):
                base = held[op.peer][op.chunk] if answer[0].kind == "recv_reduce" else 0
                held[op.peer][op.chunk] = base + held[rank][op.chunk]
                place[rank] += 1
                place[op.peer] += 1
                break
        else:
            raise RuntimeError("blocked")
    return held


@settings(max_examples=200, deadline=None)
@given(schedules_and_places(), st.data())
def test_a_moved_operation_is_refused_unless_the_sums_stay_right(
    place: tuple[Schedule, int, int], data: st.DataObject
) -> None:
    schedule, rank, index = place
    program = list(schedule.programs[rank])
    operation = program.pop(index)
    program.insert(data.draw(st.integers(0, len(program))), operation)
    moved = with_program(schedule, rank, program)
    everyone = sum(1 << r * 8 for r in range(schedule.world_size))
    try:
        held = one_way_sums(moved)
        computes_the_sum = all(chunk == everyone for chunks in held for chunk in chunks)
    except RuntimeError:
        computes_the_sum = (
            None  # blocked by strict program order, which a schedule does not ask for
        )
    if computes_the_sum is False:
        with pytest.raises(ScheduleError, match=r"rank \d+, operation \d+"):
            prove(moved)
    elif computes_the_sum:
        prove(moved)


@pytest.mark.parametrize(
    ("programs", "text"),
    [
        ([[send(1, 0)], []], "rank 0, operation 0 (send chunk 0 to rank 1): no receive meets"),
        ([[], [recv(0, 0)]], "rank 1, operation 0 (recv chunk 0 from rank 0): nothing is sent"),
        ([[send(0, 0)], []], "rank 0, operation 0 (send chunk 0 to rank 0): expected another rank"),
        ([[send(2, 0)], []], "expected another rank from 0 to 1"),
        ([[send(1, 5)], []], "expected a chunk from 0 to 0"),
        (
            [[recv(1, 0), send(1, 0)], [recv(0, 0), send(0, 0)]],
            "waits for itself through other operations: a deadlock",
        ),
        (
            [[send(1, 0), recv_reduce(1, 0)], [recv_reduce(0, 0), send(0, 0)]],
            "rank 0, operation 1 (recv_reduce chunk 0 from rank 1): chunk 0 ends wrong: "
            "the contribution of rank 0 is counted 2 times",
        ),
        (
            [[send(1, 0)], [recv(0, 0)]],
            "rank 0: chunk 0 ends wrong: the contribution of rank 1 is missing",
        ),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_reason(
    programs: list[list[Operation]], text: str
) -> None:
    schedule = Schedule(2, 1, tuple(tuple(program) for program in programs))
    with pytest.raises(ScheduleError) as refusal:
        prove(schedule)
    assert text in str(refusal.value)


def test_both_ranks_may_send_at_once_because_a_reducing_receive_is_staged() -> None:
    exchange = Schedule(2, 1, ((send(1, 0), recv_reduce(1, 0)), (send(0, 0), recv_reduce(0, 0))))
    prove(exchange)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not a schedule"),
        ("[]", "not a schedule"),
        ('{"version": 99}', "a schedule of version 99; expected 1"),
        ('{"version": 1, "world_size": 2, "chunks": 1, "programs": [[]]}', "with 1 programs"),
        ('{"version": 1, "world_size": 1, "chunks": 1, "programs": [[["fly", 0, 0]]]}', "fly"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Schedule.from_json(text)


def test_an_unknown_algorithm_gets_the_nearest_name() -> None:
    with pytest.raises(
        UserError, match="no algorithm 'binomal_tree'; did you mean 'binomial_tree'"
    ):
        collectives.build("binomal_tree", 4, 1)


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_chunks_cover_the_buffer_and_differ_by_one_element_at_most(size: int, chunks: int) -> None:
    bounds = chunk_bounds(size, chunks)
    widths = [end - begin for begin, end in itertools.pairwise(bounds)]
    assert (bounds[0], bounds[-1]) == (0, size)
    assert max(widths) - min(widths) <= 1
