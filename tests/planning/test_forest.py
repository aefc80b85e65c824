"""Forests grown for a network: always a sum, with as little over the thin links as can be."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.network import Network, parse_network
from firetree.planning.bound import optimum_s
from firetree.planning.forest import LEAF_PARTS, Forest
from firetree.planning.forest_search import MOST_CHUNKS, find_forest
from firetree.planning.simulate import price

MBIT = 1e6 / 8
BUFFER_BYTES = 5e6


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    size = draw(st.integers(2, 9))
    hosts = draw(st.permutations(range(size)))
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), max_size=3)))
    return Forest(
        tuple(tuple(hosts[a:b]) for a, b in itertools.pairwise([0, *cuts, size])),
        tuple(draw(st.lists(st.integers(0, LEAF_PARTS), min_size=size, max_size=size))),
        gates=draw(st.integers(1, size)),
        chunks=draw(st.integers(1, 20)),
        stars=draw(st.booleans()),
    )


checked_often = settings(max_examples=60, deadline=None)


@checked_often
@given(forests())
def test_every_forest_sums_on_every_host(forest: Forest) -> None:
    collectives.prove(forest.schedule())


@checked_often
@given(forests())
def test_each_host_but_one_hands_in_each_chunk_once_and_gets_it_back_once(forest: Forest) -> None:
    hops = forest.hops()
    for adds in (True, False):
        givers = Counter(
            (hop.chunk, hop.sender if adds else hop.receiver) for hop in hops if hop.adds == adds
        )
        assert set(givers.values()) == {1}
        assert len(givers) == forest.chunks * (forest.world_size - 1)


@checked_often
@given(forests())
def test_a_chunk_crosses_between_racks_no_more_often_than_it_must(forest: Forest) -> None:
    rack_of = {host: rack for rack, hosts in enumerate(forest.racks) for host in hosts}
    ends = [(hop.chunk, rack_of[hop.sender], rack_of[hop.receiver]) for hop in forest.hops()]
    crossings = Counter(chunk for chunk, out, into in ends if out != into)
    must = 2 * (len(forest.racks) - 1)
    assert all(crossings[chunk] == must for chunk in range(forest.chunks))


@checked_often
@given(forests().filter(lambda forest: len(forest.racks) == 2))
def test_of_two_racks_each_uplink_carries_each_chunk_once_a_direction(forest: Forest) -> None:
    rack_of = {host: rack for rack, hosts in enumerate(forest.racks) for host in hosts}
    ends = Counter((hop.chunk, rack_of[hop.sender], rack_of[hop.receiver]) for hop in forest.hops())
    for chunk in range(forest.chunks):
        assert (ends[chunk, 0, 1], ends[chunk, 1, 0]) == (1, 1)


@checked_often
@given(forests(), st.data())
def test_a_leaf_sends_and_receives_each_chunk_exactly_once(
    forest: Forest, data: st.DataObject
) -> None:
    leaves = {
        rack[data.draw(st.integers(0, len(rack) - 1))] for rack in forest.racks if len(rack) > 1
    }
    parts = tuple(LEAF_PARTS if host in leaves else 0 for host in range(forest.world_size))
    hops = Forest(forest.racks, parts, forest.gates, forest.chunks, forest.stars).hops()
    for ends in ([hop.sender for hop in hops], [hop.receiver for hop in hops]):
        assert all(ends.count(leaf) == forest.chunks for leaf in leaves)


@pytest.mark.parametrize("parts", range(LEAF_PARTS + 1))
def test_a_host_is_a_leaf_of_as_many_of_eight_chunks_as_asked(parts: int) -> None:
    # In the middle of a chain a host receives a chunk twice, as a sum and as a copy; a leaf does once.
    forest = Forest(((0, 1, 2, 3, 4),), (0, 0, parts, 0, 0), gates=1, chunks=LEAF_PARTS)
    received = Counter(hop.chunk for hop in forest.hops() if hop.receiver == 2)
    assert list(received.values()).count(1) == parts


@pytest.mark.parametrize("periods", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_one_rack_without_leaves_and_with_all_as_gates_costs_what_the_ring_costs(
    size: int, periods: int
) -> None:
    forest = Forest((tuple(range(size)),), (0,) * size, gates=size, chunks=periods * size)
    network = Network.of_ports((200 * MBIT,) * size)
    ring = collectives.build("ring", size, forest.chunks)
    expected = price(ring, network, BUFFER_BYTES)
    assert price(forest.schedule(), network, BUFFER_BYTES).time_s == pytest.approx(
        expected.time_s, rel=1e-9
    )


@checked_often
@given(forests())
def test_where_hosts_are_leaves_always_or_never_gates_own_as_many_chunks_in_a_period(
    forest: Forest,
) -> None:
    whole = replace(
        forest, leaf_parts=tuple(part // LEAF_PARTS * LEAF_PARTS for part in forest.leaf_parts)
    )
    owners = Counter(replace(whole, chunks=whole.period).schedule().owners)
    for rack in forest.racks:
        assert len({owners[host] for host in rack if owners[host]}) == 1


ALTERNATING = Network.of_ports((200 * MBIT,) * 8, ((0, 2, 4, 6), (1, 3, 5, 7)), 100 * MBIT)


@pytest.mark.parametrize(
    "network",
    [
        parse_network("1 x 200mbit + 1 x 50mbit + 6 x 200mbit"),
        parse_network("4 x 200mbit | 4 x 200mbit / 100mbit"),
        ALTERNATING,
    ],
    ids=["one slow host", "two racks", "alternating racks"],
)
def test_a_grown_forest_comes_within_a_tenth_of_the_bound(network: Network) -> None:
    forest = find_forest(network, BUFFER_BYTES, transfers=5_000)
    priced = price(forest.schedule(), network, BUFFER_BYTES)
    assert priced.time_s <= 1.10 * optimum_s(network, BUFFER_BYTES)


@pytest.mark.timeout(60)
def test_racks_of_different_sizes_bound_the_chunks_of_a_search() -> None:
    # Where all hosts take turns as gates, their turns would be even after 186,048 chunks.
    network = parse_network("16 x 1gbit | 17 x 1gbit | 18 x 1gbit | 19 x 1gbit / 1gbit")
    assert find_forest(network, 1 << 16, transfers=5_000).chunks <= MOST_CHUNKS


def test_a_search_skips_what_it_can_no_longer_pay_for() -> None:
    network = parse_network("64 x 1gbit | 64 x 1gbit / 1gbit")
    # A chunk is 254 transfers, and the first forest has two.
    assert find_forest(network, BUFFER_BYTES, transfers=600).chunks == 2


def test_a_forest_follows_from_its_seed() -> None:
    network = parse_network("2 x 200mbit + 1 x 30mbit + 1 x 90mbit")
    grown = [find_forest(network, 1e6, seed=seed, transfers=3_000) for seed in (0, 0, 1, 1)]
    assert grown[:3:2] == grown[1::2]


def test_a_longer_search_never_ends_with_a_slower_forest() -> None:
    network = parse_network("2 x 200mbit + 1 x 30mbit + 1 x 90mbit")
    grown = [find_forest(network, 1e6, transfers=transfers) for transfers in (1, 500, 2_000)]
    times_s = [price(forest.schedule(), network, 1e6).time_s for forest in grown]
    assert times_s == sorted(times_s, reverse=True)
