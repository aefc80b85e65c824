"""With one port a rank serves one peer after the other, where they want the same."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from programs import ALGORITHMS, quick, schedules

from firetree import collectives
from firetree.collectives import Schedule, prove
from firetree.collectives.graph import build_graph, fan_outs, moved
from firetree.collectives.schedule import recv, send

STAR = Schedule(
    4, 1, ((send(1, 0), send(2, 0), send(3, 0)), *((recv(0, 0),),) * 3), "broadcast", (0,)
)
TWO_CHUNKS = Schedule(3, 2, ((send(1, 0), send(2, 1)), (recv(0, 0),), (recv(0, 1),)), "broadcast")


@pytest.mark.parametrize(
    ("schedule", "one_port", "levels"),
    [
        (STAR, False, [1, 1, 1]),
        (STAR, True, [1, 2, 3]),
        (TWO_CHUNKS, True, [1, 1]),
    ],
)
def test_one_port_orders_the_sends_of_one_chunk_and_of_no_others(
    schedule: Schedule, one_port: bool, levels: list[int]
) -> None:
    graph = build_graph(dataclasses.replace(schedule, one_port=one_port))
    assert [graph.level[moved(t)] for t in range(len(graph.transfers))] == levels


@quick
@given(schedules())
def test_with_one_port_the_next_rank_is_served_once_the_chunk_has_left_for_the_one_before(
    schedule: Schedule,
) -> None:
    graph = prove(dataclasses.replace(schedule, one_port=True))
    number = {(t.sender, t.send_index): k for k, t in enumerate(graph.transfers)}
    for rank, program in enumerate(schedule.programs):
        for earlier, later in fan_outs(program):
            first, second = number[rank, earlier], number[rank, later]
            assert moved(first) in graph.before_sending[second]
            assert graph.level[moved(second)] > graph.level[moved(first)]


@pytest.mark.parametrize("chunks", [1, 3, 8])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_can_be_had_with_one_port(algorithm: str, chunks: int) -> None:
    for world_size in range(1, 18):
        schedule = collectives.build(algorithm, world_size, chunks)
        prove(dataclasses.replace(schedule, one_port=True))
