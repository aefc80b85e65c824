"""The order in which a rank carries out its program is safe, whatever arrives first."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import quick, schedules
from ranks import run_on_ranks

from firetree import collectives
from firetree.collectives import Executor, Schedule, prove
from firetree.collectives.graph import build_graph, fan_outs
from firetree.collectives.rank_order import WINDOW, RankOrder, Stage, rank_order
from firetree.collectives.schedule import Operation, recv, recv_reduce, send


@st.composite
def orders(draw: st.DrawFn) -> tuple[Schedule, int, RankOrder]:
    schedule = draw(schedules())
    rank = draw(st.integers(0, schedule.world_size - 1))
    return schedule, rank, rank_order(schedule, prove(schedule), rank)


def posts(stage: Stage) -> tuple[int, ...]:
    return stage.posts + stage.late_posts


def receives_of(order: RankOrder) -> list[int]:
    return [index for index, op in enumerate(order.program) if op.kind != "send"]


def open_receives(order: RankOrder) -> Iterator[list[int]]:
    """The receives that are posted and not yet over, after each stage."""
    being_open: list[int] = []
    for number, stage in enumerate(order.stages):
        if number and order.waits[number - 1] in being_open:
            being_open.remove(order.waits[number - 1])
        being_open += posts(stage)
        yield being_open


@quick
@given(orders())
def test_every_receive_is_posted_once_and_before_it_is_waited_for(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    schedule, rank, order = drawn
    receives = receives_of(order)
    assert order.program == schedule.programs[rank]
    assert sorted({*order.waits} - order.confirmed | {*receives}) == receives
    assert sorted(order.waits) == sorted({*receives} | order.confirmed)
    assert sorted(index for stage in order.stages for index in posts(stage)) == receives
    posted = {index: number for number, stage in enumerate(order.stages) for index in posts(stage)}
    for number, index in enumerate(order.waits):
        assert posted.get(index, 0) <= number


@quick
@given(orders())
def test_every_send_is_issued_once(drawn: tuple[Schedule, int, RankOrder]) -> None:
    *_, order = drawn
    issued = sorted(index for stage in order.stages for index in stage.sends)
    assert issued == [index for index, op in enumerate(order.program) if op.kind == "send"]


@quick
@given(orders())
def test_each_channel_keeps_the_order_of_the_program(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    schedule, _, order = drawn
    posted = [index for stage in order.stages for index in posts(stage)]
    sent = [index for stage in order.stages for index in stage.sends]
    for peer in range(schedule.world_size):
        for issued in (posted, sent):
            channel = [index for index in issued if order.program[index].peer == peer]
            assert channel == sorted(channel)


@quick
@given(orders())
def test_a_send_goes_out_between_the_writes_that_it_stands_between(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    *_, order = drawn
    turn_of = {index: number for number, index in enumerate(order.waits)}
    for number, stage in enumerate(order.stages):
        for index in stage.sends:
            chunk = order.program[index].chunk
            writes = [i for i in receives_of(order) if order.program[i].chunk == chunk]
            assert all(turn_of[i] < number for i in writes if i < index)
            assert all(number <= turn_of[i] for i in writes if i > index)


@quick
@given(orders())
def test_with_one_port_a_send_goes_out_once_the_one_before_was_confirmed(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    schedule, _, order = drawn
    stage_of = {index: number for number, stage in enumerate(order.stages) for index in stage.sends}
    for earlier, later in fan_outs(order.program):
        if schedule.one_port:
            assert stage_of[earlier] <= order.waits.index(earlier) < stage_of[later]


@quick
@given(orders())
def test_a_chunk_is_written_in_the_order_of_the_program(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    schedule, _, order = drawn
    for chunk in range(schedule.chunks):
        writes = [
            i
            for i in order.waits
            if order.program[i][::2] in (("recv", chunk), ("recv_reduce", chunk))
        ]
        assert writes == sorted(writes)


@quick
@given(orders())
def test_a_channel_never_has_more_open_receives_than_the_window(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    *_, order = drawn
    for being_open in open_receives(order):
        peers = Counter(order.program[index].peer for index in being_open)
        assert max(peers.values(), default=0) <= WINDOW


@quick
@given(orders())
def test_receives_that_are_open_together_never_share_a_slot(
    drawn: tuple[Schedule, int, RankOrder],
) -> None:
    *_, order = drawn
    assert {i for i, op in enumerate(order.program) if op.kind == "recv_reduce"} == {*order.slot_of}
    for being_open in open_receives(order):
        taken = [order.slot_of[index] for index in being_open if index in order.slot_of]
        assert len(set(taken)) == len(taken)
        assert all(0 <= slot < order.slots for slot in taken)


def test_a_long_channel_is_received_a_window_ahead() -> None:
    schedule = collectives.build("chain", 2, 4 * WINDOW)
    root = next(r for r, p in enumerate(schedule.programs) if p[0].kind == "recv_reduce")
    order = rank_order(schedule, prove(schedule), root)
    most = max(len(being_open) for being_open in open_receives(order))
    assert (most, order.slots) == (WINDOW, WINDOW)


@dataclass
class Message:
    """What is on its way along a channel; `taken` holds the bytes once the sender needs them no more."""

    source: Callable[[], int]
    taken: int | None = None

    def left(self) -> bool:
        return self.taken is not None


@dataclass
class Network:
    """Channels that carry messages in order, each as soon or as late as `chance` has it.

    With `rendezvous` the bytes of a message stay with the sender until its receive is posted.
    """

    chance: random.Random
    rendezvous: bool
    sent: dict[tuple[int, int, int], deque[Message]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    posted: dict[tuple[int, int, int], deque[Callable[[int], None]]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    def send(self, channel: tuple[int, int, int], source: Callable[[], int]) -> Message:
        message = Message(source)
        self.sent[channel].append(message)
        return message

    def post(self, channel: tuple[int, int, int], target: Callable[[int], None]) -> None:
        self.posted[channel].append(target)

    def move(self) -> bool:
        """Let one message leave its sender, or one arrive; False where nothing can."""
        leaving = [
            message
            for channel, queue in self.sent.items()
            for k, message in enumerate(queue)
            if message.taken is None and (k < len(self.posted[channel]) or not self.rendezvous)
        ]
        arriving = [
            channel
            for channel, queue in self.sent.items()
            if queue and queue[0].taken is not None and self.posted[channel]
        ]
        if not leaving and not arriving:
            return False
        if leaving and (not arriving or self.chance.random() < 0.5):
            message = self.chance.choice(leaving)
            message.taken = message.source()
        else:
            channel = self.chance.choice(arriving)
            taken = self.sent[channel].popleft().taken
            assert taken is not None
            self.posted[channel].popleft()(taken)
        return True


def carrying_out(
    network: Network, rank: int, order: RankOrder, held: list[int]
) -> Iterator[Callable[[], bool]]:
    """Follow an order as one thread would; yields what it waits for."""
    staging = [0] * order.slots
    landed: set[int] = set()
    confirming: dict[int, Message] = {}
    open_sends: dict[int, list[Message]] = defaultdict(list)
    asked: list[int] = []

    def land(index: int, value: int) -> None:
        if index in order.slot_of:
            staging[order.slot_of[index]] = value
        else:
            held[order.program[index].chunk] = value
        landed.add(index)

    def all_left(chunk: int) -> Callable[[], bool]:
        messages = open_sends.pop(chunk, [])
        return lambda: all(message.left() for message in messages)

    def post(index: int) -> None:
        network.post((order.program[index].peer, rank, 0), partial(land, index))

    for number, stage in enumerate(order.stages):
        if number:
            index = order.waits[number - 1]
            op = order.program[index]
            if op.kind == "send":
                yield confirming.pop(index).left
            else:
                yield partial(landed.__contains__, index)
                if index in order.confirmed:
                    network.post((op.peer, rank, 1), asked.append)
                yield all_left(op.chunk)
                if index in order.slot_of:
                    held[op.chunk] += staging[order.slot_of[index]]
        for index in stage.posts:
            assert index not in order.guarded
            post(index)
        for index in stage.sends:
            op = order.program[index]
            message = network.send((rank, op.peer, 0), partial(held.__getitem__, op.chunk))
            open_sends[op.chunk].append(message)
            if index in order.confirmed:
                confirming[index] = network.send((rank, op.peer, 1), lambda: 0)
        for index in stage.late_posts:
            if index in order.guarded:
                yield all_left(order.program[index].chunk)
            post(index)
    for chunk in list(open_sends):
        yield all_left(chunk)
    yield lambda: len(asked) == len(order.confirmed & {*receives_of(order)})


def sums(schedule: Schedule, network: Network) -> list[list[int]]:
    """What all ranks hold after following their orders, in base 100; fails where none can go on."""
    graph = build_graph(schedule)
    held = [[100**rank] * schedule.chunks for rank in range(schedule.world_size)]
    threads = [
        carrying_out(network, rank, rank_order(schedule, graph, rank), held[rank])
        for rank in range(schedule.world_size)
    ]
    waits = {rank: next(thread) for rank, thread in enumerate(threads)}
    while waits:
        ready = [rank for rank, over in waits.items() if over()]
        if ready and network.chance.random() < 0.5:
            rank = network.chance.choice(ready)
            following = next(threads[rank], None)
            waits.pop(rank)
            if following is not None:
                waits[rank] = following
        elif not network.move():
            assert ready, f"ranks {sorted(waits)} wait for one another"
    return held


@settings(max_examples=150, deadline=None)
@given(schedules(), st.booleans(), st.integers(0, 1000))
def test_the_orders_of_all_ranks_give_the_sum_whatever_arrives_first(
    schedule: Schedule, rendezvous: bool, seed: int
) -> None:
    everyone = sum(100**rank for rank in range(schedule.world_size))
    held = sums(schedule, Network(random.Random(seed), rendezvous))
    assert held == [[everyone] * schedule.chunks] * schedule.world_size


@pytest.mark.parametrize("rendezvous", [False, True])
@pytest.mark.parametrize(
    ("programs", "held"),
    [
        # What overwrites rank 0's chunk is on its way before the chunk has left,
        ([[send(1, 0), recv(2, 0)], [recv_reduce(0, 0)], [send(0, 0)]], [10000, 101, 10000]),
        # or before what is added to it has arrived, which must not be lost or added on top.
        (
            [[recv_reduce(1, 0), send(1, 0), recv(2, 0)], [send(0, 0), recv(0, 0)], [send(0, 0)]],
            [10000, 101, 10000],
        ),
        ([[recv_reduce(1, 0), recv(2, 0)], [send(0, 0)], [send(0, 0)]], [10000, 100, 10000]),
        ([[recv(1, 0), recv(2, 0)], [send(0, 0)], [send(0, 0)]], [10000, 100, 10000]),
    ],
)
def test_a_chunk_is_not_overwritten_early_by_what_nothing_holds_back(
    programs: list[list[Operation]], held: list[int], rendezvous: bool
) -> None:
    schedule = Schedule(3, 1, tuple(map(tuple, programs)))
    for seed in range(50):
        assert sums(schedule, Network(random.Random(seed), rendezvous)) == [[sum_] for sum_ in held]


# Rank 0 is overwritten by rank 2, which waits for nothing, after it has sent to rank 1.
OVERWRITTEN = Schedule(
    3,
    1,
    ((send(1, 0), recv(2, 0)), (recv_reduce(0, 0), recv_reduce(2, 0)), (send(1, 0), send(0, 0))),
    "reduce",
    (1,),
)


def sum_on_rank_1() -> set[float]:
    group = dist.group.WORLD
    assert group is not None
    executor = Executor(OVERWRITTEN, group)
    buffer = torch.full((2_000_000,), float(10 ** dist.get_rank()))
    executor.run(buffer)
    return set(buffer.tolist()) if dist.get_rank() == 1 else set()


def test_real_ranks_keep_a_chunk_until_it_has_left() -> None:
    prove(OVERWRITTEN)
    assert run_on_ranks(3, sum_on_rank_1)[1] == {111.0}
