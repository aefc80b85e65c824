"""One tree for all chunks: always a sum, and on most networks as fast as any trees can be."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.network import Host, Network, Rack, parse_network
from firetree.planning.bound import optimum_s
from firetree.planning.forest_search import find_forest
from firetree.planning.simulate import price
from firetree.planning.tree import Tree, depths
from firetree.planning.tree_search import grown_trees

MBIT = 1e6 / 8


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    size = draw(st.integers(2, 9))
    root = draw(st.integers(0, size - 1))

    def parents() -> tuple[int, ...]:
        others = draw(st.permutations([host for host in range(size) if host != root]))
        found = {root: root}
        for host in others:
            found[host] = draw(st.sampled_from(sorted(found)))
        return tuple(found[host] for host in range(size))

    return Tree(parents(), parents(), draw(st.integers(1, 20)))


checked_often = settings(max_examples=60, deadline=None)


@checked_often
@given(trees())
def test_every_tree_sums_on_every_host(tree: Tree) -> None:
    tree.check(len(tree.sums_to))
    collectives.prove(tree.schedule())


@checked_often
@given(trees())
def test_each_host_but_the_root_hands_in_each_chunk_once_and_gets_it_back_once(tree: Tree) -> None:
    hops = tree.hops()
    for adds in (True, False):
        givers = Counter(
            (hop.chunk, hop.sender if adds else hop.receiver) for hop in hops if hop.adds == adds
        )
        assert set(givers.values()) == {1}
        assert len(givers) == tree.chunks * (len(tree.sums_to) - 1)
    assert set(tree.schedule().owners) == {tree.root}


@pytest.mark.parametrize(
    ("parents", "expected"),
    [((0, 0, 1, 2), [0, 1, 2, 3]), ((1, 1, 1), [1, 0, 1]), ((0, 2, 1, 1), [0, -1, -1, -1])],
)
def test_depths_are_counted_from_the_root_and_cycles_have_none(
    parents: tuple[int, ...], expected: list[int]
) -> None:
    assert depths(parents) == expected


UNEQUAL_RACKS = Network(
    tuple(Host(rate * MBIT, rate * MBIT) for rate in (50, 200, 100, 200, 200, 50, 400, 200)),
    (
        Rack((0, 7), 100 * MBIT, 60 * MBIT),
        Rack((1, 2, 5), 150 * MBIT, 300 * MBIT),
        Rack((3, 4, 6), 400 * MBIT, 200 * MBIT),
    ),
)
ALTERNATING = Network.of_ports((200 * MBIT,) * 8, ((0, 2, 4, 6), (1, 3, 5, 7)), 100 * MBIT)
NETWORKS = {
    "one slow host": parse_network("1 x 200mbit + 1 x 50mbit + 6 x 200mbit"),
    "slow upload only": parse_network("1 x 50mbit:200mbit + 4 x 200mbit"),
    "two racks": parse_network("4 x 200mbit | 4 x 200mbit / 100mbit"),
    "alternating racks": ALTERNATING,
    "three racks with unequal uplinks": UNEQUAL_RACKS,
    "equal hosts in racks that hold nothing back": parse_network(
        "2 x 200mbit | 2 x 200mbit / 400mbit"
    ),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_what_is_found_comes_within_a_tenth_of_the_optimum(network: Network) -> None:
    found = find_forest(network, 5e6, transfers=6_000)
    priced = price(found.schedule(), network, 5e6)
    assert priced.time_s <= 1.10 * optimum_s(network, 5e6)


@pytest.mark.parametrize("name", ["one slow host", "two racks", "three racks with unequal uplinks"])
def test_sums_and_copies_of_a_grown_tree_share_no_channel(name: str) -> None:
    for tree in grown_trees(NETWORKS[name]):
        ends = Counter((hop.sender, hop.receiver) for hop in tree.hops())
        assert set(ends.values()) == {1}


@pytest.mark.timeout(60)
def test_a_tree_for_24_hosts_keeps_every_link_at_the_optimum() -> None:
    rates = itertools.islice(itertools.cycle((25, 50, 100)), 24)
    network = Network.of_ports([rate * MBIT for rate in rates])
    tree = grown_trees(network)[0]
    priced = price(replace(tree, chunks=64).schedule(), network, 5e6)
    assert priced.time_s <= 1.15 * optimum_s(network, 5e6)
