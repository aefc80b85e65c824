"""Closed forms of the known algorithms: what the schedules send, and the rounds that they take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Schedule, prove
from firetree.collectives.graph import applied, moved
from firetree.collectives.schedule import busiest_sent_chunks

KINDS = ("kary_tree:2", "sharded_parameter_server:2", "hierarchical:4")
EXACT = ("binomial_tree", "parameter_server", "ring", "chain", "sharded_parameter_server")
algorithms = st.sampled_from((*collectives.names(), *KINDS))


@pytest.mark.parametrize("size_bytes", [0, 100_000, 5_000_000])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8, 13, 16])
@pytest.mark.parametrize("algorithm", [*collectives.names(), *KINDS])
def test_closed_form_of_bytes_equals_the_schedule(
    algorithm: str, world_size: int, size_bytes: int
) -> None:
    chunks = collectives.chunks_for(algorithm, world_size, size_bytes)
    schedule = collectives.build(algorithm, world_size, chunks)
    links = collectives.LinkGraph(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.find(algorithm).cost(world_size, chunks, chunks, links)
    assert busiest_sent_chunks(schedule) == cost.sent_bytes


@settings(max_examples=150, deadline=None)
@given(algorithms, st.integers(1, 24), st.integers(1, 33))
def test_no_chunk_count_sends_more_than_the_closed_form(
    algorithm: str, world_size: int, chunks: int
) -> None:
    schedule = collectives.build(algorithm, world_size, chunks)
    links = collectives.LinkGraph(latency_s=1.0, rate_bytes_s=1.0)
    cost = collectives.find(algorithm).cost(world_size, chunks, chunks, links)
    assert busiest_sent_chunks(schedule) <= cost.sent_bytes


@pytest.mark.parametrize("world_size", [2, 3, 4, 7, 8, 16, 33, 64])
@pytest.mark.parametrize("algorithm", ["ring", "circulant", "sharded_parameter_server"])
def test_bandwidth_optimal_algorithms_send_the_least_that_is_possible(
    algorithm: str, world_size: int
) -> None:
    schedule = collectives.build(algorithm, world_size)
    assert busiest_sent_chunks(schedule) / schedule.chunks == 2 * (world_size - 1) / world_size


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
    links = collectives.LinkGraph(latency_s=1.0, rate_bytes_s=1.0)
    steps = collectives.find(algorithm).cost(world_size, schedule.chunks, 1.0, links).steps
    rounds = one_port_rounds(schedule)
    assert rounds <= steps
    if algorithm in EXACT:
        assert rounds == steps


@pytest.mark.parametrize("world_size", [2, 3, 4, 7, 8, 16, 33])
@pytest.mark.parametrize("algorithm", [*collectives.names(), *KINDS])
def test_no_closed_form_is_faster_than_the_busiest_port_or_the_bound(
    algorithm: str, world_size: int
) -> None:
    size_bytes, links = 250e6, collectives.LinkGraph(0.0, 25e6)
    chunks = collectives.chunks_for(algorithm, world_size, size_bytes)
    cost = collectives.find(algorithm).cost(world_size, chunks, size_bytes, links)
    bound_s = 2 * (world_size - 1) / world_size * size_bytes / links.rate_bytes_s
    least_s = max(cost.sent_bytes / links.rate_bytes_s, bound_s)
    assert cost.time_s >= least_s * (1 - 1e-9)


@pytest.mark.parametrize("chunks", [1, 2, 9])
def test_a_tree_with_one_inner_rank_takes_the_steps_of_a_parameter_server(chunks: int) -> None:
    star, server = collectives.find("kary_tree:9"), collectives.find("parameter_server")
    assert star.steps(4, chunks) == server.steps(4, chunks)
