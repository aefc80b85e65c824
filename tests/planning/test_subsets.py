"""The hosts that should be fastest together: no worse than others, whatever their numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree.network import Network, parse_network
from firetree.network.network import uniform
from firetree.planning import subsets
from firetree.planning.subsets import Subset, alike, called, estimated_sum_s, fastest_subsets

RATES = st.sampled_from([1e6, 5e6, 25e6])


@st.composite
def networks(draw: st.DrawFn, most: int = 6, racks: bool = True) -> Network:
    """Hosts of three kinds, perhaps in two racks, perhaps each with a latency of its own."""
    rates = draw(st.lists(RATES, min_size=2, max_size=most))
    size = len(rates)
    cut = draw(st.integers(1, size - 1))
    members = [range(cut), range(cut, size)] if racks and draw(st.booleans()) else []
    network = Network.of_ports(rates, members, draw(RATES) if members else None)
    if not draw(st.booleans()):
        return network
    far_s = draw(st.lists(st.sampled_from([0.0, 0.1]), min_size=size, max_size=size))
    latency_s = tuple(
        tuple(0.0 if a == b else far_s[a] + far_s[b] for b in range(size)) for a in range(size)
    )
    return Network(network.hosts, network.racks, latency_s=latency_s)


def rates(network: Network, hosts: Subset) -> list[float]:
    return sorted(network.hosts[host].up_bytes_s for host in hosts)


def cost_on(network: Network) -> Callable[[Subset], float]:
    return lambda hosts: estimated_sum_s(network.of(hosts), 1e6)


@given(networks())
def test_each_subset_is_the_best_of_all_of_its_size(network: Network) -> None:
    cost = cost_on(network)
    for count, found in enumerate(fastest_subsets(network, cost), start=1):
        assert len(found) == count
        assert cost(found) == min(map(cost, combinations(range(network.size), count)))


@given(networks(most=12))
@settings(max_examples=50)
def test_no_subset_is_worse_than_the_first_hosts_where_few_are_compared(network: Network) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "_MOST_SUBSETS", 0)
        found = fastest_subsets(network, cost_on(network))
    for hosts in found:
        assert cost_on(network)(hosts) <= cost_on(network)(tuple(range(len(hosts))))


@given(networks(most=6, racks=False))
@settings(max_examples=50)
def test_on_one_switch_taking_hosts_away_finds_the_best_ports(network: Network) -> None:
    ports = Network(network.hosts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "_MOST_SUBSETS", 0)
        by_removal = fastest_subsets(ports, cost_on(ports))
    assert by_removal == fastest_subsets(ports, cost_on(ports))


@given(networks(racks=False), st.randoms())
def test_hosts_in_another_order_give_the_same_hosts(network: Network, random: Random) -> None:
    order = list(range(network.size))
    random.shuffle(order)
    other = network.of(order)
    for one, again in zip(
        fastest_subsets(network, cost_on(network)),
        fastest_subsets(other, cost_on(other)),
        strict=True,
    ):
        assert cost_on(network)(one) == cost_on(other)(again)
        assert rates(network, one) == rates(other, again)


@pytest.mark.parametrize(
    ("text", "third"),
    [
        ("3 x 200mbit + 1 x 50mbit", (0, 1, 2)),
        ("1 x 50mbit + 3 x 200mbit", (1, 2, 3)),
        ("2 x 200mbit + 1 x 50mbit + 1 x 200mbit", (0, 1, 3)),
        ("2 x 1gbit | 3 x 1gbit / 100mbit", (2, 3, 4)),
        ("40 x 100mbit + 3 x 1gbit", (40, 41, 42)),
    ],
)
def test_the_slow_host_and_the_other_rack_are_left_out(text: str, third: Subset) -> None:
    network = parse_network(text)
    assert fastest_subsets(network, cost_on(network))[2] == third


def test_few_kinds_of_hosts_leave_few_subsets_to_compare() -> None:
    asked = set[Subset]()
    network = parse_network("12 x 1gbit + 12 x 100mbit")

    def cost(hosts: Subset) -> float:
        asked.add(hosts)
        return float(len(hosts))

    fastest_subsets(network, cost)
    assert len(asked) <= 13 * 13


def test_hosts_are_alike_that_may_change_places() -> None:
    assert alike(parse_network("2 x 1gbit + 1 x 100mbit + 1 x 1gbit")) == [(0, 1, 3), (2,)]
    assert alike(parse_network("2 x 1gbit | 2 x 1gbit / 1gbit")) == [(0, 1), (2, 3)]
    even = parse_network("3 x 1gbit, 80us")
    assert alike(even) == [(0, 1, 2)]
    far = [list(row) for row in uniform(1e-3, 3)]
    far[0][2] = 0.1
    latency_s = tuple(map(tuple, far))
    assert alike(Network(even.hosts, latency_s=latency_s)) == [(0,), (1,), (2,)]


def test_latency_counts_there_and_back() -> None:
    near, far = parse_network("4 x 1gbit"), parse_network("4 x 1gbit, 1ms")
    more_s = estimated_sum_s(far, 1e6) - estimated_sum_s(near, 1e6)
    assert more_s == pytest.approx(4e-3)


def test_hosts_are_called_by_their_numbers_or_names() -> None:
    call = partial(called, parse_network("9 x 1gbit"))
    assert [call({3}), call({1, 2}), call({2, 3, 4}), call({5, 0, 2})] == [
        "host 3",
        "hosts 1 and 2",
        "hosts 2 to 4",
        "hosts 0, 2 and 5",
    ]
