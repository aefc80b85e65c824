"""Whatever arrives first, and in whatever pieces, all ranks get the sum, or an error that names who failed."""

from __future__ import annotations

import itertools
import random
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import schedules
from ranks import meshed, run_on_ranks

from firetree import collectives
from firetree.collectives import Executor, Schedule, prove
from firetree.collectives.graph import bindings, build_graph, channels, fan_outs
from firetree.collectives.over_wires import PIECE_BYTES, OverWires
from firetree.collectives.schedule import Operation, recv, recv_reduce, send
from firetree.errors import CollectiveError
from firetree.wires import Mesh, Wire


class UnevenWire(Wire):
    """Moves a few bytes at a time, or none, as `chance` has it."""

    def __init__(self, stream: socket.socket, chance: random.Random):
        super().__init__(stream, stream)
        self._chance = chance

    def send(self, *parts: memoryview, in_turn: bool = False) -> int:
        if self._chance.random() < 0.3:
            return 0
        return super().send(*self._some(parts), in_turn=in_turn)

    def receive(self, *parts: memoryview) -> int:
        return super().receive(*self._some(parts)) if self._chance.random() < 0.7 else 0

    def _some(self, parts: Sequence[memoryview]) -> list[memoryview]:
        left, some = self._chance.choice((1, 7, 100, 1 << 20)), []
        for part in parts:
            some.append(part[:left])
            left -= len(some[-1])
        return some


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


@contextmanager
def meshes(size: int, seed: int | None = None, timeout_s: float = 20.0) -> Iterator[list[Mesh]]:
    """Ranks of this process, joined by connections; with a seed, these are uneven."""
    wires: list[dict[int, Wire]] = [{} for _ in range(size)]
    for one, other in itertools.combinations(range(size), 2):
        ends = tcp_pair()
        for rank, peer, end in ((one, other, ends[0]), (other, one, ends[1])):
            chance = random.Random(f"{seed} {rank} {peer}")
            wires[rank][peer] = Wire(end, end) if seed is None else UnevenWire(end, chance)
    made = [Mesh(rank, range(size), wires[rank], timeout_s) for rank in range(size)]
    try:
        yield made
    finally:
        for mesh in made:
            mesh.close()


def carried_out(
    schedule: Schedule, ranks: list[Mesh], buffers: list[torch.Tensor]
) -> list[list[list[float]]]:
    """When operations moved, by rank and channel."""
    with ThreadPoolExecutor(len(ranks)) as threads:
        runs = [
            threads.submit(OverWires(schedule, mesh).carry, buffer)
            for mesh, buffer in zip(ranks, buffers, strict=True)
        ]
        return [run.result() for run in runs]


@settings(max_examples=150, deadline=None)
@given(
    schedules(),
    st.integers(0, 40),
    st.sampled_from([torch.float32, torch.int64, torch.bfloat16, torch.uint8]),
    st.integers(0, 1000),
)
def test_all_ranks_get_the_sum_whatever_arrives_first(
    schedule: Schedule, elements: int, dtype: torch.dtype, seed: int
) -> None:
    size = schedule.world_size
    buffers = [torch.arange(elements).add(rank).remainder(5).to(dtype) for rank in range(size)]
    expected = torch.stack(buffers).sum(0, dtype=dtype)
    with meshes(size, seed) as ranks:
        for _ in range(2):  # the second run over the same wires
            summed = [buffer.clone() for buffer in buffers]
            carried_out(schedule, ranks, summed)
            assert all(torch.equal(buffer, expected) for buffer in summed)


@settings(max_examples=50, deadline=None)
@given(schedules(), st.integers(0, 40), st.integers(0, 1000))
def test_moments_are_told_for_each_operation_in_the_order_of_the_schedule(
    schedule: Schedule, elements: int, seed: int
) -> None:
    buffers = [torch.zeros(elements) for _ in range(schedule.world_size)]
    with meshes(schedule.world_size, seed) as ranks:
        moments_s = carried_out(schedule, ranks, buffers)
    start_s, end_s = {}, {}
    for rank, of_channels in enumerate(moments_s):
        for indices, moments in zip(channels(schedule.programs[rank]), of_channels, strict=True):
            where = [(rank, index) for index in indices]
            start_s |= zip(where, moments[::2], strict=True)
            end_s |= zip(where, moments[1::2], strict=True)
    for rank, program in enumerate(schedule.programs):
        assert all(start_s[rank, index] <= end_s[rank, index] for index in range(len(program)))
        for earlier, later in bindings(program):
            assert end_s[rank, earlier] <= start_s[rank, later]
    for it in build_graph(schedule).transfers:
        assert start_s[it.sender, it.send_index] <= end_s[it.receiver, it.receive_index]


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("algorithm", ["ring", "binomial_tree"])
def test_chunks_of_many_pieces_are_added_whole(algorithm: str, more: int) -> None:
    elements = 3 * (PIECE_BYTES // 4) + more
    buffers = [torch.arange(float(elements)) * rank for rank in (1, 2, 3)]
    with meshes(3, seed=1) as ranks:
        carried_out(collectives.build(algorithm, 3, 1), ranks, buffers)
    assert all(torch.equal(buffer, torch.arange(float(elements)) * 6) for buffer in buffers)


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
    programs: list[list[Operation]], held: list[int]
) -> None:
    schedule = Schedule(3, 1, tuple(map(tuple, programs)))
    for seed in range(20):
        buffers = [torch.full((50,), float(100**rank)) for rank in range(3)]
        with meshes(3, seed) as ranks:
            carried_out(schedule, ranks, buffers)
        assert [set(buffer.tolist()) for buffer in buffers] == [{sum_} for sum_ in held]


# Rank 0 is overwritten by rank 2, which waits for nothing, after it has sent to rank 1.
OVERWRITTEN = Schedule(
    3,
    1,
    ((send(1, 0), recv(2, 0)), (recv_reduce(0, 0), recv_reduce(2, 0)), (send(1, 0), send(0, 0))),
    "reduce",
    (1,),
)


def sum_on_rank_1() -> set[float]:
    mesh = meshed()
    buffer = torch.full((2_000_000,), float(10**mesh.rank))
    Executor(OVERWRITTEN, mesh).run(buffer)
    return set(buffer.tolist()) if mesh.rank == 1 else set()


def test_real_ranks_keep_a_chunk_until_it_has_left() -> None:
    prove(OVERWRITTEN)
    assert run_on_ranks(3, sum_on_rank_1)[1] == {111.0}


def test_with_one_port_a_send_follows_the_one_before_of_the_same_chunk() -> None:
    schedule = Schedule(
        3, 1, ((send(1, 0), send(2, 0)), (recv(0, 0),), (recv(0, 0),)), "broadcast", (0,), True
    )
    assert list(fan_outs(schedule.programs[0])) == [(0, 1)]
    size = 1 << 22
    with meshes(3) as ranks, ThreadPoolExecutor(3) as threads:
        # Rank 1 takes nothing, so that rank 2 gets nothing either, until rank 1 does.
        buffers = [torch.full((size,), float(rank)) for rank in range(3)]
        first = threads.submit(OverWires(schedule, ranks[0]).carry, buffers[0])
        last = threads.submit(OverWires(schedule, ranks[2]).carry, buffers[2])
        time.sleep(0.2)
        assert buffers[2][0] == 2.0
        threads.submit(OverWires(schedule, ranks[1]).carry, buffers[1]).result()
        first.result()
        last.result()
    assert [set(buffer.tolist()) for buffer in buffers] == [{0.0}] * 3


def test_a_rank_that_went_away_is_named() -> None:
    schedule = collectives.build("ring", 3, 3)
    with meshes(3) as ranks:
        ranks[2].close()
        with pytest.raises(CollectiveError, match="rank 2 went away") as failure:
            OverWires(schedule, ranks[0]).carry(torch.ones(9))
    assert failure.value.peer == 2


def test_a_silent_rank_is_named_after_the_timeout() -> None:
    schedule = collectives.build("ring", 2, 2)
    named = pytest.raises(CollectiveError, match=r"rank 1 did not answer within 0.3 s")
    with meshes(2, timeout_s=0.3) as ranks, named:
        OverWires(schedule, ranks[0]).carry(torch.ones(9))


def test_a_rank_that_ended_its_side_is_named_at_once_by_who_waits_to_send_to_it() -> None:
    schedule = Schedule(2, 1, ((send(1, 0),), (recv(0, 0),)), "broadcast", (0,))
    with meshes(2, timeout_s=1.0) as ranks:
        ranks[1].wires[0].outgoing.shutdown(socket.SHUT_WR)
        with pytest.raises(CollectiveError, match="rank 1 went away"):
            OverWires(schedule, ranks[0]).carry(torch.zeros(1 << 24))  # more than kernels take


def test_ranks_that_are_out_of_step_stop_and_add_nothing_wrong() -> None:
    schedule = collectives.build("binomial_tree", 2, 1)
    with meshes(2) as ranks, ThreadPoolExecutor(1) as threads:
        other = threads.submit(OverWires(schedule, ranks[1]).carry, torch.ones(10))
        with pytest.raises(
            CollectiveError, match=r"rank 1 sent message 1 of 40 bytes where message 1 of 36"
        ):
            OverWires(schedule, ranks[0]).carry(torch.ones(9))
        ranks[0].close()
        with pytest.raises(CollectiveError):
            other.result()


def test_after_an_error_a_rank_adds_nothing_to_the_message_that_it_left_unfinished() -> None:
    schedule = Schedule(
        3, 1, ((send(1, 0), send(2, 0)), (recv(0, 0),), (recv(0, 0),)), "broadcast", (0,)
    )
    size = 4_000_000  # more than the kernel holds
    with meshes(3) as ranks, ThreadPoolExecutor(1) as threads:
        ranks[2].close()
        carrier = OverWires(schedule, ranks[0])
        with pytest.raises(CollectiveError, match="rank 2 went away"):
            carrier.carry(torch.zeros(size))
        other = threads.submit(OverWires(schedule, ranks[1]).carry, torch.ones(size))
        for _ in range(20):
            time.sleep(0.01)
            with pytest.raises(CollectiveError, match="rank 2 went away") as again:
                carrier.carry(torch.ones(size))
        assert again.value.peer == 2
        ranks[0].close()
        with pytest.raises(CollectiveError, match="rank 0 went away"):
            other.result()


def test_a_mesh_whose_collective_was_interrupted_carries_no_other_one() -> None:
    def interrupted(_: torch.Tensor, __: torch.Tensor) -> None:
        raise KeyboardInterrupt

    schedule = collectives.build("binomial_tree", 2, 1)
    with meshes(2) as ranks, ThreadPoolExecutor(1) as threads:
        other = threads.submit(OverWires(schedule, ranks[1]).carry, torch.ones(9))
        with pytest.raises(KeyboardInterrupt):
            OverWires(schedule, ranks[0]).carry(torch.ones(9), interrupted)
        with pytest.raises(CollectiveError, match="KeyboardInterrupt"):
            OverWires(schedule, ranks[0]).carry(torch.ones(9))
        ranks[0].close()
        with pytest.raises(CollectiveError):
            other.result()
