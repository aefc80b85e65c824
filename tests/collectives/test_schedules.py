"""Schedules as data: proved for every world size, refused when damaged, readable again from JSON."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Operation, Schedule, ScheduleError, prove
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
    placed = schedule.with_order(order)
    prove(placed)
    for part, rank in enumerate(order):
        peers = [order[op.peer] for op in schedule.programs[part]]
        assert [op.peer for op in placed.programs[rank]] == peers


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


@pytest.mark.parametrize("kind", ["reduce", "broadcast", "reduce_scatter", "all_gather"])
@pytest.mark.parametrize("owner", [-1, 2, 99])
def test_an_owner_that_is_no_rank_is_refused(kind: Collective, owner: int) -> None:
    schedule = Schedule(2, 1, ((), ()), kind, owners=(owner,))
    with pytest.raises(ScheduleError, match=f"owner {owner}; expected a rank from 0 to 1"):
        prove(schedule)


def adding_up_to(count: int) -> Schedule:
    """Both of two ranks end with so many copies of rank 0's contribution and none of rank 1's.

    Each adds the other's over and over, as in Euclid's algorithm backwards.
    """
    other = next(
        other for other in range(round(count / 1.618), count) if math.gcd(count, other) == 1
    )
    pair, additions = [count, other], list[int]()
    while pair != [1, 1]:
        larger = int(pair[1] > pair[0])
        pair[larger] -= pair[1 - larger]
        additions.append(larger)
    programs: tuple[list[Operation], ...] = ([send(1, 0)], [recv(0, 0)])
    for adder in reversed(additions):
        programs[adder].append(recv_reduce(1 - adder, 0))
        programs[1 - adder].append(send(adder, 0))
    programs[0].append(send(1, 0))
    programs[1].append(recv(0, 0))
    return Schedule(2, 1, tuple(map(tuple, programs)))


def test_no_count_of_contributions_runs_into_the_next_rank() -> None:
    with pytest.raises(ScheduleError, match="rank 0 is counted 5 times"):
        prove(adding_up_to(5))
    with pytest.raises(ScheduleError, match=r"counts a rank's contribution 2\^31 times or more"):
        prove(adding_up_to((1 << 32) + 1))


def test_both_ranks_may_send_at_once_because_a_reducing_receive_is_staged() -> None:
    exchange = Schedule(2, 1, ((send(1, 0), recv_reduce(1, 0)), (send(0, 0), recv_reduce(0, 0))))
    prove(exchange)


def json_of(**changes: object) -> str:
    """A schedule's JSON with one field changed."""
    return json.dumps({**json.loads(Schedule(1, 1, ((),)).to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "the schedule is not JSON: Expecting value"),
        ("[]", r"the schedule: \[\]; expected a table"),
        ('{"version": 99}', "the schedule is of version 99; expected 2"),
        (json_of(world_size=2), "for 2 ranks with 1 programs; expected one program a rank"),
        (json_of(world_size=0), "world_size = 0; expected 1 or more"),
        (
            json_of(programs=[[["fly", 0, 0]]]),
            r"programs\[0\]\[0\]\[0\] = 'fly'; expected 'send', 'recv', 'recv_reduce'",
        ),
        (json_of(collective="all_to_all"), "collective = 'all_to_all'; expected 'all_reduce',"),
        (json_of(chunks=math.inf).replace("Infinity", "1e999"), "chunks = inf; expected int"),
        (json_of(chunks=10**12), "a schedule of 1000000000000 chunks; expected at most 65536"),
        ("[" * 100_000, "the schedule is not JSON: its values are nested too deeply"),
        (json_of(version="2\n" * 1_000), "the schedule is of version .*; expected 2"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        Schedule.from_json(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("binomal_tree", "no algorithm 'binomal_tree'; did you mean 'binomial_tree'"),
        ("kary_tree:0", "'kary_tree:0'; expected a number from 1 after the colon"),
        ("kary_tree:two", "expected a number from 1 after the colon, as in kary_tree:4"),
        ("ring:4", "'ring:4': ring takes no number; expected 'ring'"),
        ("ring:\n", r"'ring:\\n': ring takes no number"),
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
