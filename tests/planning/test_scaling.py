"""How many hosts to take, and which."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import pytest

from firetree.models.profile import Gradient, Profile
from firetree.network import Host, Network, Rack, parse_network
from firetree.planning.changes import compressions_that_cost_at_most
from firetree.planning.outlook import Outlook, outlook
from firetree.planning.plan import Plan, Prices, make_plan
from firetree.planning.scaling import (
    PricedSubset,
    fastest,
    likely_subset,
    scaling,
    world_sizes,
)
from firetree.planning.subsets import Subset

PROFILE = Profile(0.02, 0.03, tuple(Gradient(f"p{k}", 70_000, 0.01 * k) for k in range(4)))


def scaled(text: str) -> list[PricedSubset]:
    return scaling("a model", PROFILE, parse_network(text), lambda _: None)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("3 x 200mbit + 1 x 50mbit", (0, 1, 2)),
        ("1 x 50mbit + 3 x 200mbit", (1, 2, 3)),
        ("1 x 200mbit + 1 x 50mbit + 2 x 200mbit", (0, 2, 3)),
    ],
)
def test_a_slow_host_is_left_out_wherever_it_stands(text: str, hosts: Subset) -> None:
    found = scaled(text)
    assert [len(it.hosts) for it in found] == [1, 2, 3, 4]
    best = fastest(found)
    assert best.hosts == hosts
    assert best.plan.world_size == 3
    assert best.speedup == pytest.approx(fastest(scaled("3 x 200mbit")).speedup)
    assert best.speedup > 1.1 * found[-1].speedup


def test_a_point_has_the_numbers_of_its_subset() -> None:
    told: list[str] = []
    found = scaling("a model", PROFILE, parse_network("3 x 1gbit"), told.append)
    assert told == [f"pricing {count} of 3 hosts" for count in (1, 2, 3)]
    for it in found:
        assert it.point.hosts == it.hosts
        assert it.point.efficiency == pytest.approx(PROFILE.compute_s / it.point.step_s)
        assert it.point.speedup == pytest.approx(len(it.hosts) * it.point.efficiency)
        assert not it.plan.candidates
    assert (found[0].point.algorithm, found[0].point.limited_by) == ("none", "computation")


def test_hosts_of_a_part_keep_their_numbers_in_what_limits_them() -> None:
    assert scaled("1 x 1mbit + 1 x 10mbit + 1 x 20mbit")[1].point.limited_by.startswith("host 1")


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (3, [1, 2, 3]), (8, range(1, 9)), (11, [1, 2, 4, 8, 11])]
)
def test_every_number_of_few_hosts_is_priced_and_of_many_each_double(
    most: int, expected: list[int]
) -> None:
    assert list(world_sizes(most)) == list(expected)


def test_of_many_hosts_the_likely_best_number_is_among_those_priced() -> None:
    network = parse_network("10 x 1gbit + 1 x 1mbit")
    assert likely_subset(PROFILE, network) == tuple(range(10))


@pytest.mark.slow
def test_no_other_subset_is_much_faster_in_simulation() -> None:
    chance = random.Random(5)
    for _ in range(12):
        size = chance.choice([3, 4, 5])
        network = Network(
            tuple(
                Host(rate, rate)
                for rate in (1.25e6 * chance.choice([1, 2, 5, 20]) for _ in range(size))
            )
        )
        if chance.random() < 0.4:
            cut, rate = chance.randrange(1, size), 1.25e6 * chance.choice([1, 5, 20])
            racks = (tuple(range(cut)), tuple(range(cut, size)))
            network = replace(network, racks=tuple(Rack(hosts, rate, rate) for hosts in racks))
        for found in scaling("a model", PROFILE, network, lambda _: None)[1:-1]:
            step_s = min(
                make_plan("a model", PROFILE, Prices(network.of(hosts)), compare=False).step_s
                for hosts in combinations(range(size), len(found.hosts))
            )
            assert found.plan.step_s <= 1.15 * step_s


def subset(world_size: int, speedup: float) -> PricedSubset:
    """As if it had been priced."""
    step_s = world_size / speedup
    plan = Plan("m", world_size, 4, 4, (), 1.0, step_s, "host 0 up", ())
    return PricedSubset(tuple(range(world_size)), Prices(parse_network("1 x 1gbit")), plan)


@pytest.mark.parametrize(
    ("speedups", "world_size"),
    [
        ([1.0, 1.9, 2.8], 3),
        ([1.0, 1.9, 1.85], 3),  # no clear difference: all that there are
        ([1.0, 1.9, 1.5], 2),
        ([1.0, 0.5, 0.9], 1),
        ([1.0, 0.5, 1.04], 1),
    ],
)
def test_the_fastest_are_all_hosts_unless_fewer_are_clearly_faster(
    speedups: list[float], world_size: int
) -> None:
    subsets = [subset(count, speedup) for count, speedup in enumerate(speedups, start=1)]
    assert len(fastest(subsets).hosts) == world_size


def test_a_run_hears_of_the_ranks_that_hold_it_back() -> None:
    network = parse_network("1 x 20mbit + 3 x 200mbit")
    seen = outlook(make_plan("a model", PROFILE, Prices(network)), PROFILE, network)
    assert seen.without == (0,)
    assert seen.is_slower
    assert "without rank 0, whose links are slow: 2." in str(seen)
    even = parse_network("3 x 200mbit")
    assert not outlook(make_plan("a model", PROFILE, Prices(even)), PROFILE, even).without


def test_a_run_takes_a_compression_where_that_is_clearly_faster() -> None:
    for text, expected in (("2 x 20mbit", "int8"), ("2 x 100gbit", "none")):
        network = parse_network(text)
        plan = make_plan("a model", PROFILE, Prices(network))
        seen = outlook(plan, PROFILE, network, compressions_that_cost_at_most(0.5))
        assert seen.compression == expected
        assert seen.step_s <= plan.step_s
        assert ("sent as int8, which cost no accuracy" in str(seen)) == (expected != "none")


def test_compressions_are_taken_by_what_they_were_measured_to_cost() -> None:
    assert compressions_that_cost_at_most(0.5) == ["fp16", "int8", "powersgd:2"]
    assert "topk:0.01" in compressions_that_cost_at_most(2.0)
    assert "demo:32" not in compressions_that_cost_at_most(99.0)  # not measured


@pytest.mark.parametrize(
    ("step_s", "without", "speedup_without", "faster"),
    [
        (2.0, (), 0.0, ()),
        (2.0, (3,), 2.5, (0, 1, 2)),
        (2.0, (3,), 2.05, ()),
        (5.0, (3,), 0.9, (0,)),
        (5.0, (0,), 2.5, (0,)),  # a run stays with its rank 0
        (2.0, (0,), 2.5, ()),
        (3.9, (), 0.0, ()),
    ],
)
def test_the_ranks_that_are_faster_have_rank_0_among_them(
    step_s: float, without: tuple[int, ...], speedup_without: float, faster: tuple[int, ...]
) -> None:
    seen = Outlook(4, step_s, 1.0, "ring", "none", without, speedup_without)
    assert seen.faster == faster
