"""Groves: several trees with their own numbers of chunks; always a sum, and fast where one tree is not enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.network import Host, Network
from firetree.planning.bound import optimum_s
from firetree.planning.forest_search import find_forest
from firetree.planning.grove import Grove
from firetree.planning.grove_search import groves
from firetree.planning.packing import pack, pack_of
from firetree.planning.simulate import price
from firetree.planning.tree import Tree

MBIT = 1e6 / 8
BUFFER_BYTES = 5e6

FAST_AND_SLOW = Network.of_ports([rate * MBIT for rate in (100, 200, 100, 200, 100, 100)])
"""All ports have to be full at once."""
SLOW_DOWN = Network(
    tuple(Host(up * MBIT, down * MBIT) for up, down in ((100, 100), (50, 50), *((200, 50),) * 3))
)
checked_often = settings(max_examples=60, deadline=None)


@st.composite
def any_groves(draw: st.DrawFn) -> Grove:
    size = draw(st.integers(2, 7))

    def parents(root: int) -> tuple[int, ...]:
        found = {root: root}
        for host in draw(st.permutations([host for host in range(size) if host != root])):
            found[host] = draw(st.sampled_from(sorted(found)))
        return tuple(found[host] for host in range(size))

    roots = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))
    trees = (Tree(parents(root), parents(root), draw(st.integers(1, 9))) for root in roots)
    return Grove(tuple(trees), draw(st.integers(1, 40)))


@checked_often
@given(any_groves())
def test_every_grove_sums_on_every_host(grove: Grove) -> None:
    grove.check(len(grove.trees[0].sums_to))
    collectives.prove(grove.schedule())


@checked_often
@given(any_groves())
def test_each_tree_carries_its_chunks(grove: Grove) -> None:
    owners = Counter(grove.schedule().owners)
    expected = Counter[int]()
    for tree in grove.trees:
        expected[tree.root] += tree.chunks
    assert owners == expected


@checked_often
@given(any_groves())
def test_trees_take_turns_as_evenly_as_their_chunks_allow(grove: Grove) -> None:
    trees = tuple(replace(tree, chunks=4) for tree in grove.trees)
    owners = Grove(trees, grove.lag).schedule().owners
    roots = [tree.root for tree in trees]
    for begin in range(0, len(owners), len(roots)):
        assert Counter(owners[begin : begin + len(roots)]) == Counter(roots)


@pytest.mark.parametrize("network", [FAST_AND_SLOW, SLOW_DOWN], ids=["fast and slow", "slow down"])
def test_where_one_tree_is_not_enough_a_grove_comes_within_a_tenth_of_the_optimum(
    network: Network,
) -> None:
    found = find_forest(network, BUFFER_BYTES)
    assert isinstance(found, Grove)
    priced = price(found.schedule(), network, BUFFER_BYTES)
    assert priced.time_s <= 1.10 * optimum_s(network, BUFFER_BYTES)


@pytest.mark.parametrize("chunks", [1, 2, 5, 152])
def test_groves_have_about_as_many_chunks_as_asked(chunks: int) -> None:
    for grove in groves(FAST_AND_SLOW, chunks):
        grove.check(FAST_AND_SLOW.size)
        assert abs(grove.chunks - chunks) <= len(pack(FAST_AND_SLOW).trees)


def test_the_trees_of_the_fastest_packing_are_packed_as_fast_alone() -> None:
    fastest = pack(FAST_AND_SLOW)
    again = pack_of(FAST_AND_SLOW, fastest.trees, [1.0] * len(fastest.trees))
    assert again.s_byte == pytest.approx(fastest.s_byte)


def test_a_tree_that_is_worth_little_is_left_out() -> None:
    network = Network.of_ports((100 * MBIT,) * 3)
    chains = Tree((0, 0, 1), (0, 0, 1)), Tree((0, 2, 0), (0, 2, 0))
    assert pack_of(network, chains, (1.0, 0.1)).trees == chains[:1]
    assert pack_of(network, chains, (0.1, 1.0)).trees == chains[1:]


@pytest.mark.parametrize(
    ("grove", "message"),
    [
        (Grove((), 8), "a grove without trees"),
        (Grove((Tree((0, 0), (0, 0), 0),), 8), "a tree without chunks"),
        (Grove((Tree((0, 0), (0, 0), 1),), 0), "a lag of 0 steps"),
        (Grove((Tree((0, 1), (0, 0), 1),), 8), "not a tree of all hosts"),
    ],
)
def test_what_is_no_grove_is_refused(grove: Grove, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grove.check(2)
