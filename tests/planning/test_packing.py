"""The fastest packing of trees: what its links carry, and that nothing along trees is faster."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from firetree.network import Host, Network, Rack, parse_network
from firetree.network.network import rack_of
from firetree.planning.bound import optimum_s
from firetree.planning.branching import cheapest_tree
from firetree.planning.packing import pack

RATES = st.sampled_from([5.0, 10.0, 12.5, 20.0, 25.0, 50.0, 100.0])


@st.composite
def networks(draw: st.DrawFn, most: int = 8) -> Network:
    """3 hosts or more, unequal in both directions, in up to three racks with unequal uplinks."""
    size = draw(st.integers(3, most))
    hosts = tuple(Host(draw(RATES), draw(RATES)) for _ in range(size))
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), max_size=2)))
    order = draw(st.permutations(range(size)))
    members = [tuple(sorted(order[a:b])) for a, b in itertools.pairwise([0, *cuts, size])]
    racks = [Rack(member, 2 * draw(RATES), 2 * draw(RATES)) for member in members]
    medium = draw(st.just(float("inf")) | RATES)
    return Network(hosts, tuple(racks) if cuts else (), medium_bytes_s=medium)


Crosses = Callable[[int, int], bool]


def links(network: Network) -> list[tuple[Crosses, float]]:
    """Which pairs of sender and receiver cross a link, and its rate."""
    racks = rack_of(network)
    found: list[tuple[Crosses, float]] = []
    for host, port in enumerate(network.hosts):
        found.append((lambda a, _, host=host: a == host, port.up_bytes_s))
        found.append((lambda _, b, host=host: b == host, port.down_bytes_s))
    if network.has_medium:
        found.append((lambda _a, _b: True, network.medium_bytes_s))
    for k, rack in enumerate(network.racks):
        found.append((lambda a, b, k=k: racks[a] == k != racks[b], rack.out_bytes_s))
        found.append((lambda a, b, k=k: racks[b] == k != racks[a], rack.in_bytes_s))
    return found


def optimum_s_byte(network: Network) -> float:
    """Edmonds' theorem as a linear programme over all cuts.

    Variables: what each pair carries of sums, then of copies, each host's share of roots, and the time. Sums
    that leave a set of hosts, and copies that enter it, are all but what has its root there.
    """
    hosts = range(network.size)
    pairs = list(itertools.permutations(hosts, 2))
    most = max(rate for _, rate in links(network))
    rows, limits = [], []
    for members in itertools.chain.from_iterable(
        itertools.combinations(hosts, count) for count in range(1, network.size)
    ):
        out = [a in members and b not in members for a, b in pairs]
        into = [b in members and a not in members for a, b in pairs]
        roots = [host in members for host in hosts]
        none = [False] * len(pairs)
        rows += [[*out, *none, *roots, False], [*none, *into, *roots, False]]
    rows, limits = [-np.array(row, float) for row in rows], [-1.0] * len(rows)
    for crosses, rate in links(network):
        carried = [float(crosses(a, b)) for a, b in pairs]
        rows.append(np.array([*carried, *carried, *[0.0] * network.size, -rate / most]))
        limits.append(0.0)
    shares = [[*[0.0] * (2 * len(pairs)), *[1.0] * network.size, 0.0]]
    time = np.eye(len(rows[0]))[-1]
    found = linprog(time, np.array(rows), limits, shares, [1.0])
    assert found.status == 0
    return float(found.fun) / most


checked_often = settings(max_examples=25, deadline=None)


@checked_often
@given(networks(most=6))
def test_the_packing_is_the_optimum_over_all_cuts(network: Network) -> None:
    packing, optimum = pack(network), optimum_s_byte(network)
    assert packing.s_byte == pytest.approx(optimum, rel=1e-5)
    assert packing.least_s_byte == pytest.approx(optimum, rel=1e-5)


@checked_often
@given(networks())
def test_no_link_carries_more_than_it_can_in_the_packings_time(network: Network) -> None:
    packing = pack(network)
    assert sum(packing.parts) == pytest.approx(1)
    carried: Counter[tuple[int, int]] = Counter()
    for tree, part in zip(packing.trees, packing.parts, strict=True):
        tree.check(network.size)
        for host in {*range(network.size)} - {tree.root}:
            carried[host, tree.sums_to[host]] += part  # type: ignore[assignment]
            carried[tree.copies_from[host], host] += part  # type: ignore[assignment]
    for crosses, rate in links(network):
        over_link = sum(part for ends, part in carried.items() if crosses(*ends))
        assert over_link <= rate * packing.s_byte * (1 + 1e-9)


@checked_often
@given(networks())
def test_no_more_trees_are_packed_than_there_are_links(network: Network) -> None:
    assert len(pack(network).trees) <= 2 * (network.size + len(network.racks))


@pytest.mark.parametrize(
    ("text", "s_byte"),
    [
        ("2 x 8mbit", 1e-6),
        ("8 x 8mbit", 1.75e-6),  # the ring's
        ("16 x 8mbit", 1.875e-6),
        ("7 x 80mbit + 1 x 8mbit", 1e-6),
        ("4 x 80mbit | 4 x 80mbit / 8mbit", 1e-6),
    ],
)
def test_optima_that_are_known(text: str, s_byte: float) -> None:
    network = parse_network(text)
    assert pack(network).s_byte == pytest.approx(s_byte, rel=1e-5)
    assert optimum_s(network, 1e6) == pytest.approx(1e6 * s_byte, rel=1e-5)


@checked_often
@given(st.integers(1, 5), st.data())
def test_no_tree_costs_less_than_the_cheapest(size: int, data: st.DataObject) -> None:
    costs = np.array([[data.draw(st.integers(0, 9)) for _ in range(size)] for _ in range(size)])
    nodes, root = range(size), data.draw(st.integers(0, size - 1))

    def cost(parents: tuple[int, ...]) -> int:
        return sum(int(costs[parents[node], node]) for node in nodes if node != root)

    def is_tree(parents: tuple[int, ...]) -> bool:
        reached = {root}
        for _ in nodes:
            reached |= {node for node in nodes if parents[node] in reached}
        return parents[root] == root and len(reached) == size

    found = tuple(cheapest_tree(costs.astype(float), root).tolist())
    assert is_tree(found)
    assert cost(found) == min(map(cost, filter(is_tree, itertools.product(nodes, repeat=size))))
