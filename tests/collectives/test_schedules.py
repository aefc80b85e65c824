"""Schedules as data: proved for every world size, refused when damaged, readable again from JSON."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Operation, Schedule, ScheduleError, prove
from firetree.collectives.graph import applied, moved
from firetree.collectives.schedule import (
    Collective,
    busiest_sent_chunks,
    chunk_bounds,
    recv,
    recv_reduce,
    send,
)
from firetree.errors import UserError

KINDS = ("kary_tree:2", "sharded_parameter_server:2", "hierarchical:4")
EXACT = ("binomial_tree", "parameter_server", "ring", "chain", "sharded_parameter_server")
algorithms = st.sampled_from((*collectives.names(), *KINDS))


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


@pytest.mark.parametrize("size_bytes", [0, 100_000, 5_000_000])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8, 13, 16])
@pytest.mark.parametrize("algorithm", [*collectives.names(), *KINDS])
def test_closed_form_of_bytes_equals_the_schedule(
    algorithm: str, world_size: int, size_bytes: int
) -> None:
    chunks = collectives.chunks_for(algorithm, world_size, size_bytes)
    schedule = collectives.build(algorithm, world_size, chunks)
    links = collectives.Links(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.find(algorithm).cost(world_size, chunks, chunks, links)
    assert busiest_sent_chunks(schedule) == cost.sent_bytes


@settings(max_examples=150, deadline=None)
@given(algorithms, st.integers(1, 24), st.integers(1, 33))
def test_no_chunk_count_sends_more_than_the_closed_form(
    algorithm: str, world_size: int, chunks: int
) -> None:
    schedule = collectives.build(algorithm, world_size, chunks)
    links = collectives.Links(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.find(algorithm).cost(world_size, chunks, chunks, links)
    assert busiest_sent_chunks(schedule) <= cost.sent_bytes


@pytest.mark.parametrize("world_size", [2, 3, 4, 7, 8, 16, 33, 64])
@pytest.mark.parametrize("algorithm", ["ring", "circulant", "sharded_parameter_server"])
def test_bandwidth_optimal_algorithms_send_the_least_that_is_possible(
    algorithm: str, world_size: int
) -> None:
    schedule = collectives.build(algorithm, world_size)
    assert busiest_sent_chunks(schedule) / schedule.chunks == 2 * (world_size - 1) / world_size


@pytest.mark.parametrize("world_size", range(2, 65))
def test_double_tree_sends_each_byte_at_most_twice(world_size: int) -> None:
    schedule = collectives.build("double_binary_tree", world_size, 64)
    assert busiest_sent_chunks(schedule) <= 2 * 64


@pytest.mark.parametrize("world_size", range(2, 65))
def test_no_rank_is_an_inner_node_of_both_trees(world_size: int) -> None:
    schedule = collectives.build("double_binary_tree", world_size, 2)
    for program in schedule.programs:
        adds = {op.chunk for op in program if op.kind == "recv_reduce"}
        assert len(adds) <= 1


def test_a_rack_of_the_hierarchical_sum_sends_across_only_from_its_leader() -> None:
    schedule = collectives.build("hierarchical:4", 12, 9)
    for rank, program in enumerate(schedule.programs):
        across = [op for op in program if op.kind == "send" and op.peer // 4 != rank // 4]
        assert len(across) == (2 * 9 - 2 * 9 // 3 if rank % 4 == 0 else 0)


HALVES = [
    ("binomial_tree", "reduce"),
    ("kary_tree:2", "reduce"),
    ("chain", "broadcast"),
    ("parameter_server", "broadcast"),
    ("ring", "reduce_scatter"),
    ("ring", "all_gather"),
    ("halving_doubling", "reduce_scatter"),
    ("circulant", "reduce_scatter"),
    ("circulant", "all_gather"),
    ("double_binary_tree", "reduce_scatter"),
    ("sharded_parameter_server", "all_gather"),
]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8, 16, 31, 64])
@pytest.mark.parametrize(("algorithm", "kind"), HALVES)
def test_the_halves_of_an_all_reduce_are_collectives_of_their_own(
    algorithm: str, kind: Collective, world_size: int
) -> None:
    half = collectives.build(algorithm, world_size, kind=kind)
    whole = collectives.build(algorithm, world_size)
    prove(half)
    assert half.owners == whole.owners
    if world_size > 1:
        with pytest.raises(ScheduleError):
            prove(dataclasses.replace(half, collective="all_reduce"))


def test_a_reduce_scatter_of_the_ring_leaves_an_equal_share_with_every_rank() -> None:
    assert sorted(collectives.build("ring", 8, 16, "reduce_scatter").owners) == [
        rank for rank in range(8) for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("algorithm", "kind", "message"),
    [
        ("ring", "reduce", "no reduce: its chunks end on several ranks; expected reduce_scatter"),
        ("ring", "broadcast", "no broadcast: .* expected all_gather"),
    ],
)
def test_a_half_that_an_algorithm_lacks_is_refused(
    algorithm: str, kind: Collective, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        collectives.build(algorithm, 4, kind=kind)


@settings(max_examples=60, deadline=None)
@given(algorithms, st.permutations(range(7)), st.integers(1, 9))
def test_any_placement_is_proved_and_moves_only_names(
    algorithm: str, order: list[int], chunks: int
) -> None:
    schedule = collectives.build(algorithm, 7, chunks)
    placed = schedule.placed(order)
    prove(placed)
    for part, rank in enumerate(order):
        peers = [order[op.peer] for op in schedule.programs[part]]
        assert [op.peer for op in placed.programs[rank]] == peers


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
@pytest.mark.parametrize("algorithm", [*collectives.names(), *KINDS])
def test_closed_form_of_steps_is_reached_by_one_port(algorithm: str, world_size: int) -> None:
    schedule = collectives.build(algorithm, world_size)
    links = collectives.Links(latency_s=1.0, rate_bytes_s=1.0)
    steps = collectives.find(algorithm).cost(world_size, schedule.chunks, 1.0, links).steps
    rounds = one_port_rounds(schedule)
    assert rounds <= steps
    if algorithm in EXACT:
        assert rounds == steps


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


def json_of(**changes: object) -> str:
    """A schedule's JSON with one field changed."""
    return json.dumps({**json.loads(Schedule(1, 1, ((),)).to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not a schedule"),
        ("[]", "not a schedule"),
        ('{"version": 99}', "a schedule of version 99; expected 2"),
        (json_of(world_size=2), "with 1 programs"),
        (json_of(programs=[[["fly", 0, 0]]]), "fly"),
        (json_of(collective="all_to_all"), "all_to_all"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Schedule.from_json(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("binomal_tree", "no algorithm 'binomal_tree'; did you mean 'binomial_tree'"),
        ("kary_tree:0", "'kary_tree:0'; expected a number from 1 after the colon"),
        ("kary_tree:two", "expected a number from 1 after the colon, as in kary_tree:4"),
        ("ring:4", "'ring:4': ring takes no number; expected 'ring'"),
    ],
)
def test_an_unknown_algorithm_gets_the_nearest_name(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        collectives.build(name, 4, 1)


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_chunks_cover_the_buffer_and_differ_by_one_element_at_most(size: int, chunks: int) -> None:
    bounds = chunk_bounds(size, chunks)
    widths = [end - begin for begin, end in itertools.pairwise(bounds)]
    assert (bounds[0], bounds[-1]) == (0, size)
    assert max(widths) - min(widths) <= 1
