"""Groups that share a link are inferred from rates of pairs alone, and none where there is none."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree.network import Network, rack_of
from firetree.network.fair import fair_rates
from firetree.probing.effort import Link, disjoint_rounds, effort, loaded_rounds, within_cores
from firetree.probing.racks import suspected

NOISE = 0.03
Pair = tuple[int, int]


def observed(network: Network, seed: int) -> dict[Pair, list[float]]:
    """What a probe would see of the network in its loaded rounds, but for 3 % of noise."""
    dice = random.Random(seed)
    racks = rack_of(network)
    rates: dict[Link, float] = {}
    for number, host in enumerate(network.hosts):
        rates["up", number], rates["down", number] = host.up_bytes_s, host.down_bytes_s
    for number, rack in enumerate(network.racks):
        rates["out", number], rates["in", number] = rack.out_bytes_s, rack.in_bytes_s

    def links(a: int, b: int) -> list[Link]:
        uplinks: list[Link] = [("out", racks[a]), ("in", racks[b])] if racks[a] != racks[b] else []
        return [("up", a), ("down", b), *uplinks]

    found: dict[Pair, list[float]] = {}
    for flows in loaded_rounds(
        range(network.size), effort(network.size, brief=False).pair_rounds, dice
    ):
        for pair, rate in zip(flows, fair_rates([links(*p) for p in flows], rates), strict=True):
            found.setdefault(pair, []).append(rate * dice.uniform(1 - NOISE, 1 + NOISE))
    return found


def groups_of(network: Network, seed: int = 0) -> list[tuple[int, ...]]:
    ports = {
        number: (host.up_bytes_s, host.down_bytes_s) for number, host in enumerate(network.hosts)
    }
    return suspected(range(network.size), observed(network, seed), ports)


def racked(racks: Sequence[Sequence[int]], uplink_bytes_s: float) -> Network:
    return Network.of_ports([25e6] * sum(map(len, racks)), racks, uplink_bytes_s)


RACKS = {
    "two of two": (racked([(0, 1), (2, 3)], 12e6), 10),
    "alternating": (racked([(0, 2, 4), (1, 3, 5)], 25e6), 10),
    "uplink faster than a port": (racked([range(4), range(4, 8)], 37.5e6), 10),
    "three uneven": (racked([range(4), range(4, 7), range(7, 9)], 18.75e6), 10),
    "four of four": (racked([range(k, 16, 4) for k in range(4)], 50e6), 10),
}


@pytest.mark.parametrize("case", RACKS)
def test_racks_are_found_as_they_are(case: str) -> None:
    network, seeds = RACKS[case]
    for seed in range(seeds):
        assert groups_of(network, seed) == sorted(rack.hosts for rack in network.racks)


@given(
    ports=st.lists(st.sampled_from([6.25e6, 12.5e6, 25e6]), min_size=2, max_size=16),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_ports_of_any_rates_are_no_racks(ports: list[float], seed: int) -> None:
    assert groups_of(Network.of_ports(ports), seed) == []


@given(hosts=st.integers(2, 20), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_loaded_rounds_keep_every_host_busy_and_hold_every_pair(hosts: int, seed: int) -> None:
    rounds = [*loaded_rounds(range(hosts), hosts - 1, random.Random(seed))]
    for flows in rounds:
        assert sorted(a for a, _ in flows) == sorted(b for _, b in flows) == [*range(hosts)]
    pairs = [pair for flows in rounds for pair in flows]
    assert sorted(pairs) == [(a, b) for a in range(hosts) for b in range(hosts) if a != b]


@given(hosts=st.integers(2, 20))
def test_disjoint_rounds_hold_every_pair_once_and_no_host_twice(hosts: int) -> None:
    rounds = [*disjoint_rounds(range(hosts))]
    for pairs in rounds:
        members = [host for pair in pairs for host in pair]
        assert len(members) == len(set(members))
    met = sorted(tuple(sorted(pair)) for pairs in rounds for pair in pairs)
    assert met == [(a, b) for a in range(hosts) for b in range(a + 1, hosts)]


def test_a_machine_is_kept_as_busy_as_allowed() -> None:
    pairs = [(0, 1), (2, 3), (4, 5)]
    machine_of = {0: "x", 1: "x", 2: "x", 3: "y", 4: "y", 5: "z"}
    assert [*within_cores(pairs, machine_of, {"x": 1, "y": 2, "z": 1})] == [
        [(0, 1), (4, 5)],
        [(2, 3)],
    ]
    assert [*within_cores([], {}, {})] == []


def test_links_divide_max_min_fairly() -> None:
    flows = [[("up", 0), ("down", 1)], [("up", 0), ("down", 2)], [("up", 1), ("down", 2)]]
    rates: dict[Link, float] = {
        ("up", 0): 10.0,
        ("up", 1): 10.0,
        ("down", 1): 3.0,
        ("down", 2): 9.0,
    }
    assert fair_rates(flows, rates) == [3.0, 4.5, 4.5]
