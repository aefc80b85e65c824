"""What a schedule takes on a network: the closed forms where those hold, and what must always be so."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives.schedule import Operation, Schedule, recv, send
from firetree.network import Host, Machine, Network, Rack
from firetree.network.network import uniform
from firetree.planning.bound import optimum_s
from firetree.planning.simulate import Price, price

RATE_BYTES_S = 25e6
CHUNK_BYTES = 1 << 20
"""Large enough that the receiver confirms it, where sends go one after another."""


def equal(size: int, latency_s: float = 0.0) -> Network:
    network = Network.of_ports((RATE_BYTES_S,) * size)
    return replace(network, latency_s=uniform(latency_s, size)) if latency_s else network


CLEAN = [
    *[("ring", size, chunks) for size in (2, 3, 5, 8) for chunks in (1, size, 3 * size)],
    *[("binomial_tree", size, 1) for size in (2, 3, 5, 8, 16)],
    *[("parameter_server", size, chunks) for size in (2, 5, 8) for chunks in (1, 4)],
    *[("chain", size, chunks) for size in (2, 3, 7, 8) for chunks in (1, size, 24)],
    *[("halving_doubling", size, shares * size) for size in (2, 4, 8) for shares in (1, 3)],
    *[("circulant", size, shares * size) for size in (2, 4, 8) for shares in (1, 3)],
    *[("sharded_parameter_server", size, size) for size in (2, 3, 8)],
    *[("sharded_parameter_server:2", size, 2) for size in (4, 5, 8)],
    *[("kary_tree:2", size, 1) for size in (3, 7)],
    *[("kary_tree", size, 1) for size in (2, 3, 4)],
    *[("kary_tree:4", size, 1) for size in (5,)],
]


@pytest.mark.parametrize(("name", "size", "chunks"), CLEAN)
def test_on_equal_links_a_price_is_the_closed_form(name: str, size: int, chunks: int) -> None:
    size_bytes = chunks * CHUNK_BYTES
    links = collectives.LinkGraph(0.0, RATE_BYTES_S)
    closed = collectives.find(name).cost(size, chunks, size_bytes, links)
    priced = price(collectives.build(name, size, chunks), equal(size), size_bytes)
    assert priced.time_s == pytest.approx(closed.time_s, rel=1e-9)


DEPENDENT = [
    *[("ring", size, size) for size in (2, 3, 5, 8)],
    *[("binomial_tree", size, 1) for size in (2, 4, 8, 16)],
    *[("chain", size, 1) for size in (2, 3, 5, 8)],
]


@pytest.mark.parametrize(("name", "size", "chunks"), DEPENDENT)
def test_latency_counts_once_a_step_where_every_step_waits_for_the_one_before(
    name: str, size: int, chunks: int
) -> None:
    size_bytes = chunks * CHUNK_BYTES
    links = collectives.LinkGraph(1e-3, RATE_BYTES_S)
    closed = collectives.find(name).cost(size, chunks, size_bytes, links)
    priced = price(collectives.build(name, size, chunks), equal(size, 1e-3), size_bytes)
    assert priced.time_s == pytest.approx(closed.time_s, rel=1e-9)


@pytest.mark.parametrize("name", ["halving_doubling", "circulant", "sharded_parameter_server"])
def test_latency_is_hidden_in_part_where_messages_overlap(name: str) -> None:
    size_bytes, links = 8 * CHUNK_BYTES, collectives.LinkGraph(1e-3, RATE_BYTES_S)
    closed = collectives.find(name).cost(8, 8, size_bytes, links)
    priced = price(collectives.build(name, 8, 8), equal(8, 1e-3), size_bytes)
    assert priced.time_s < closed.time_s


@pytest.mark.parametrize(
    ("name", "size", "chunks"), [("binomial_tree", 1024, 1), ("ring", 128, 64)]
)
def test_a_large_cluster_can_be_priced(name: str, size: int, chunks: int) -> None:
    size_bytes = chunks * CHUNK_BYTES
    links = collectives.LinkGraph(0.0, RATE_BYTES_S)
    closed = collectives.find(name).cost(size, chunks, size_bytes, links)
    priced = price(collectives.build(name, size, chunks), equal(size), size_bytes)
    assert priced.time_s == pytest.approx(closed.time_s, rel=1e-9)


def one_way(size: int, *ends: tuple[int, int]) -> Schedule:
    """From each first host to each second one goes a chunk of its own, all at once."""
    programs: list[list[Operation]] = [[] for _ in range(size)]
    for chunk, (sender, receiver) in enumerate(ends):
        programs[sender].append(send(receiver, chunk))
        programs[receiver].append(recv(sender, chunk))
    return Schedule(size, len(ends), tuple(map(tuple, programs)), "broadcast")


THREE_OF_SIX = ((0, 3), (1, 4), (2, 5))
TWO_RACKS = ((0, 1, 2), (3, 4, 5))


@pytest.mark.parametrize(
    ("network", "ends", "time_s"),
    [
        # 100 bytes a chunk; the slower of both ports of a pair of hosts counts.
        (Network((Host(10.0, 1.0), Host(1.0, 5.0))), ((0, 1),), 20.0),
        (Network((Host(4.0, 1.0), Host(1.0, 5.0))), ((0, 1),), 25.0),
        # Two directions do not meet.
        (Network.of_ports((10.0, 10.0)), ((0, 1), (1, 0)), 10.0),
        # Two flows into one port share it; what the slower cannot use the other has.
        (Network.of_ports((10.0, 10.0, 10.0)), ((1, 0), (2, 0)), 20.0),
        (Network.of_ports((10.0, 2.0, 10.0)), ((1, 0), (2, 0)), 50.0),
        (Network.of_ports((10.0, 4.0, 6.0)), ((1, 0), (2, 0)), 25.0),
        # Two flows out of one port: 5 each, and one alone goes on at 10.
        (Network.of_ports((10.0, 10.0, 10.0)), ((0, 1), (0, 2)), 20.0),
        # Three flows over an uplink of 6: 2 each.
        (Network.of_ports((10.0,) * 6, TWO_RACKS, 6.0), THREE_OF_SIX, 50.0),
        # Over one of 12 where host 0 has 3: 3, 4.5 and 4.5.
        (Network.of_ports((3.0, *(10.0,) * 5), TWO_RACKS, 12.0), THREE_OF_SIX, 100 / 3),
        # Over one of 9, host 0 alone would have 5, but 3 each are fair.
        (Network.of_ports((5.0, *(10.0,) * 5), TWO_RACKS, 9.0), THREE_OF_SIX, 100 / 3),
        # Inside a rack no uplink is crossed.
        (Network.of_ports((10.0,) * 6, TWO_RACKS, 1.0), ((0, 1), (3, 4)), 10.0),
        # What one connection carries, and what the CPU copies.
        (replace(Network.of_ports((10.0,) * 2), pair_bytes_s=((0.0, 4.0), (9.0, 0.0))), ((0, 1),), 25.0),
        (Network((Host(10.0, 10.0), Host(10.0, 10.0, byte_s=0.5))), ((0, 1),), 50.0),
        # A message at the sender, its bytes, the latency, a message at the receiver.
        (
            Network((Host(10.0, 10.0, message_s=3.0), Host(10.0, 10.0, message_s=4.0)), latency_s=uniform(5.0, 2)),
            ((0, 1),),
            3 + 10 + 5 + 4,
        ),
    ],
)  # fmt: skip
def test_bytes_share_ports_and_uplinks_evenly(
    network: Network, ends: tuple[tuple[int, int], ...], time_s: float
) -> None:
    priced = price(one_way(network.size, *ends), network, 100.0 * len(ends))
    assert priced.time_s == pytest.approx(time_s)


def test_an_addition_costs_its_receiver_time_for_each_byte() -> None:
    adding = Network((Host(10.0, 10.0, add_s=0.25), Host(10.0, 10.0)))
    summed = price(collectives.build("chain", 2, 1, "reduce"), adding, 100.0)
    assert summed.time_s == pytest.approx(10 + 25)


@pytest.mark.parametrize(("cores", "time_s"), [(8.0, 6.0), (4.0, 6.0), (2.0, 12.0), (1.0, 24.0)])
def test_hosts_that_share_few_cores_slow_each_others_messages(cores: float, time_s: float) -> None:
    # Each host sends and receives one message of 3 s; its bytes take no time worth speaking of.
    hosts = (Host(1e12, 1e12, message_s=3.0),) * 4
    network = Network(hosts, machines=(Machine((0, 1, 2, 3), cores),))
    around = one_way(4, (0, 1), (1, 2), (2, 3), (3, 0))
    assert price(around, network, 4.0).time_s == pytest.approx(time_s)


@pytest.mark.parametrize(("cores", "time_s"), [(8.0, 6.0), (4.0, 12.0), (2.0, 24.0)])
def test_what_messages_cost_shared_cores_beside_them_delays_them_only_where_cores_are_few(
    cores: float, time_s: float
) -> None:
    hosts = (Host(1e12, 1e12, message_s=3.0),) * 4
    network = Network(hosts, machines=(Machine((0, 1, 2, 3), cores, message_s=3.0),))
    around = one_way(4, (0, 1), (1, 2), (2, 3), (3, 0))
    assert price(around, network, 4.0).time_s == pytest.approx(time_s)


@pytest.mark.parametrize(
    ("network", "limited_by"),
    [
        (Network((Host(1.0, 9.0), Host(9.0, 9.0))), "host 0 up"),
        (Network((Host(9.0, 9.0, "left"), Host(9.0, 1.0, "right"))), "right down"),
        (Network.of_ports((9.0, 9.0), ((0,), (1,)), 1.0), "rack 0 out"),
        (Network((Host(9.0, 9.0, message_s=99.0), Host(9.0, 9.0))), "host 0's CPU"),
        (replace(Network.of_ports((9.0, 9.0)), latency_s=uniform(99.0, 2)), "latency"),
        (
            replace(Network.of_ports((9.0, 9.0)), pair_bytes_s=uniform(1.0, 2)),
            "host 0 to host 1",
        ),
    ],
)
def test_a_price_names_what_limits_it(network: Network, limited_by: str) -> None:
    assert price(one_way(2, (0, 1)), network, 100.0).limited_by == limited_by


@pytest.mark.parametrize(
    ("network", "limited_by"),
    [
        (Network((Host(9.0, 9.0, "node"), Host(9.0, 1.0, "node"), Host(9.0, 9.0, "node"))), "node down"),
        (
            Network((Host(9.0, 9.0, "node", message_s=99.0), *(Host(9.0, 9.0, "node"),) * 2)),
            "node's CPU",
        ),
        (
            Network(
                (*(Host(9.0, 9.0, message_s=99.0),) * 2, Host(9.0, 9.0)),
                machines=(Machine((0, 1), 1.0), Machine((2,), 1.0)),
            ),
            "the shared CPU",
        ),
    ],
)  # fmt: skip
def test_of_things_with_one_name_the_busiest_counts(network: Network, limited_by: str) -> None:
    assert price(one_way(3, (0, 1)), network, 100.0).limited_by == limited_by


def test_a_server_that_has_long_waited_for_a_slow_host_takes_in_all_others_at_once() -> None:
    ports = (1_000 * RATE_BYTES_S, RATE_BYTES_S, *(10 * RATE_BYTES_S,) * 400)
    network, star = Network.of_ports(ports), collectives.build("parameter_server", 402, 1)
    # The others' parts have come when the slow one's has; then each copy leaves the server's port by
    # itself, the slow one's last.
    slow_s, port_s = CHUNK_BYTES / RATE_BYTES_S, 400 * CHUNK_BYTES / (1_000 * RATE_BYTES_S)
    assert price(star, network, CHUNK_BYTES).time_s == pytest.approx(2 * slow_s + port_s)


@pytest.mark.parametrize("slow", [1, 3])
def test_a_child_behind_a_slow_link_holds_up_no_other(slow: int) -> None:
    ports = [4 * RATE_BYTES_S] * 4
    ports[slow] = RATE_BYTES_S
    copies = collectives.build("parameter_server", 4, 1, "broadcast")
    at_once_s = CHUNK_BYTES / RATE_BYTES_S
    before_s = 2 * CHUNK_BYTES / (4 * RATE_BYTES_S)  # where the others' come first
    time_s = price(copies, Network.of_ports(ports), CHUNK_BYTES).time_s
    assert at_once_s * 0.999 <= time_s <= (at_once_s + before_s) * 1.001


def test_one_rank_alone_takes_no_time() -> None:
    alone = price(collectives.build("ring", 1, 4), Network.of_ports((1.0,)), 100.0)
    assert alone == Price(0.0, "nothing")


def test_a_schedule_for_other_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match="a schedule for 4 ranks on 3 hosts"):
        price(collectives.build("ring", 4), equal(3), 100.0)


NAMES = collectives.names()
rates = st.floats(1e6, 1e9)


@st.composite
def networks(draw: st.DrawFn, *, latency: bool = True, racks: bool = True) -> Network:
    """Hosts whose CPUs cost nothing."""
    size = draw(st.integers(2, 6))
    hosts = tuple(Host(draw(rates), draw(rates)) for _ in range(size))
    members: list[tuple[int, ...]] = []
    if racks and draw(st.booleans()):
        order = draw(st.permutations(range(size)))
        cuts = sorted(draw(st.sets(st.integers(1, size - 1), min_size=1, max_size=2)))
        members = [tuple(order[a:b]) for a, b in itertools.pairwise([0, *cuts, size])]
    delays = st.floats(0, 0.1) if latency and draw(st.booleans()) else st.just(0.0)
    table = tuple(tuple(0.0 if a == b else draw(delays) for b in range(size)) for a in range(size))
    return Network(
        hosts, tuple(Rack(rack, draw(rates), draw(rates)) for rack in members), (), table
    )


@st.composite
def schedules(draw: st.DrawFn, size: int) -> Schedule:
    chunks = draw(st.sampled_from([1, 2, size, size + 1, 2 * size]))
    return collectives.build(draw(st.sampled_from(NAMES)), size, chunks)


priced_often = settings(max_examples=60, deadline=None)


@priced_often
@given(networks(), st.data())
def test_nothing_is_faster_than_the_bound(network: Network, data: st.DataObject) -> None:
    schedule = data.draw(schedules(network.size))
    size_bytes = float(CHUNK_BYTES * schedule.chunks)
    bound_s = optimum_s(network, size_bytes)
    assert price(schedule, network, size_bytes).time_s >= bound_s * (1 - 1e-9)


def faster(network: Network, factor: float) -> Network:
    """All rates times a factor."""
    return replace(
        network,
        hosts=tuple(
            replace(host, up_bytes_s=factor * host.up_bytes_s, down_bytes_s=factor * host.down_bytes_s)
            for host in network.hosts
        ),
        racks=tuple(
            replace(rack, out_bytes_s=factor * rack.out_bytes_s, in_bytes_s=factor * rack.in_bytes_s)
            for rack in network.racks
        ),
    )  # fmt: skip


@priced_often
@given(networks(latency=False), st.integers(0, 10), st.data())
def test_without_latency_twice_the_rate_is_half_the_time_and_twice_the_size_is_twice(
    network: Network, doublings: int, data: st.DataObject
) -> None:
    # Other factors round differently, by which what comes first at a tie could change.
    factor = 2.0**doublings
    schedule = data.draw(schedules(network.size))
    size_bytes = float(CHUNK_BYTES * schedule.chunks)
    time_s = price(schedule, network, size_bytes).time_s
    assert price(schedule, faster(network, factor), size_bytes).time_s * factor == time_s
    assert price(schedule, network, size_bytes * factor).time_s == time_s * factor


@priced_often
@given(networks(), st.floats(0, 1e-3), st.floats(0, 1e-8), st.data())
def test_hosts_by_other_numbers_in_the_same_parts_take_the_same_time(
    network: Network, message_s: float, add_s: float, data: st.DataObject
) -> None:
    hosts = tuple(replace(host, message_s=message_s, add_s=add_s) for host in network.hosts)
    network = replace(network, hosts=hosts)
    schedule = data.draw(schedules(network.size))
    order = data.draw(st.permutations(range(network.size)))
    size_bytes = float(CHUNK_BYTES * schedule.chunks)
    renamed = price(schedule, network.of(order), size_bytes)
    placed = price(schedule.with_order(order), network, size_bytes)
    assert renamed.time_s == pytest.approx(placed.time_s, rel=1e-9)


shares_of_one = st.floats(0.1, 1.0)


@priced_often
@given(networks(racks=False), st.data())
def test_a_ring_is_never_faster_for_a_slower_host_or_more_latency(
    network: Network, data: st.DataObject
) -> None:
    # Each port has one flow at a time here. Where flows share a port, as in other algorithms, it may
    # help a little when one comes later: whoever is not in its way is done sooner.
    size = network.size
    hosts = tuple(
        Host(
            host.up_bytes_s * data.draw(shares_of_one),
            host.down_bytes_s * data.draw(shares_of_one),
            message_s=data.draw(st.floats(0, 1e-3)),
            add_s=data.draw(st.floats(0, 1e-8)),
        )
        for host in network.hosts
    )
    more_s = data.draw(st.floats(0, 0.1))
    latency_s = tuple(tuple(it + more_s for it in row) for row in network.latency_s)
    slower = dataclasses.replace(network, hosts=hosts, latency_s=latency_s)
    ring, size_bytes = collectives.build("ring", size, size), float(size * CHUNK_BYTES)
    before_s = price(ring, network, size_bytes).time_s
    assert price(ring, slower, size_bytes).time_s >= before_s * (1 - 1e-9)


@priced_often
@given(st.sampled_from([2, 4, 8]), st.data())
def test_messages_additions_and_latency_only_add_to_a_tree_on_equal_links(
    size: int, data: st.DataObject
) -> None:
    hosts = tuple(
        Host(
            RATE_BYTES_S,
            RATE_BYTES_S,
            message_s=data.draw(st.floats(0, 1e-2)),
            add_s=data.draw(st.floats(0, 1e-7)),
        )
        for _ in range(size)
    )
    network = Network(hosts, latency_s=uniform(data.draw(st.floats(0, 0.1)), size))
    links = collectives.LinkGraph(0.0, RATE_BYTES_S)
    clean_s = collectives.find("binomial_tree").cost(size, 1, CHUNK_BYTES, links).time_s
    priced = price(collectives.build("binomial_tree", size, 1), network, CHUNK_BYTES)
    assert priced.time_s >= clean_s * (1 - 1e-9)


@pytest.mark.parametrize("name", ["ring", "binomial_tree", "chain", "parameter_server"])
def test_on_a_shared_medium_everything_sent_takes_its_turn(name: str) -> None:
    network = replace(equal(4), medium_bytes_s=RATE_BYTES_S / 2)
    priced = price(collectives.build(name, 4, 4), network, 4 * CHUNK_BYTES)
    assert priced.time_s == pytest.approx(6 * 4 * CHUNK_BYTES / network.medium_bytes_s, rel=1e-9)
    assert priced.limited_by == "the shared medium"
    assert priced.time_s == pytest.approx(optimum_s(network, 4 * CHUNK_BYTES))
