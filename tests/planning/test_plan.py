"""Plans: steps by hand, buckets as DDP makes them, choices that no candidate beats, what is advised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.errors import UserError
from firetree.models.profile import Gradient, Profile
from firetree.network import Network, parse_network
from firetree.planning.bound import lower_bound_s
from firetree.planning.candidates import (
    FOREST,
    GLOO,
    best_of,
    candidate_names,
    is_uneven,
    known,
)
from firetree.planning.plan import Plan, Prices, make_plan, restricted
from firetree.planning.step import Bucket, bucketed, step


@pytest.fixture(autouse=True, scope="module")
def short_searches() -> Iterator[None]:
    """Forests need not be good here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firetree.planning.plan._FOREST_ANCHORS", {1 << 16: 1_000, 1 << 24: 1_000})
        yield


def profile_of(*gradients: tuple[int, float], backward_s: float = 10.0) -> Profile:
    """Gradients of so many bytes, ready after so many seconds of a backward pass behind 5 s forward."""
    return Profile(
        5.0, backward_s, tuple(Gradient(f"p{k}", *each) for k, each in enumerate(gradients))
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 2_000))
def test_buckets_are_those_of_ddp(elements: list[int], bucket_bytes: int) -> None:
    tensors = [torch.empty(count) for count in elements]
    indices, _ = dist._compute_bucket_assignment_by_size(tensors, [bucket_bytes])
    theirs = [sum(4 * elements[index] for index in bucket) for bucket in indices]
    ours = bucketed(profile_of(*((4 * count, 0.0) for count in elements)), bucket_bytes)
    assert [bucket.size_bytes for bucket in ours] == theirs


@pytest.mark.parametrize(
    ("bucket_bytes", "buckets"),
    [
        (1, [Bucket(10, 1.0), Bucket(20, 4.0), Bucket(30, 9.0)]),
        (11, [Bucket(30, 4.0), Bucket(30, 9.0)]),
        (31, [Bucket(60, 9.0)]),
        (1000, [Bucket(60, 9.0)]),
    ],
)
def test_a_bucket_is_ready_with_its_last_gradient(bucket_bytes: int, buckets: list[Bucket]) -> None:
    assert bucketed(profile_of((10, 1.0), (20, 4.0), (30, 9.0)), bucket_bytes) == buckets


THREE = profile_of((10, 2.0), (10, 6.0), (10, 10.0))


@pytest.mark.parametrize(
    ("profile", "bucket_bytes", "byte_s", "exposed_s"),
    [
        (THREE, 1, 0.0, 0.0),  # nothing to sum
        (THREE, 1, 0.1, 1.0),  # all but the last are summed before the next is there
        (THREE, 1, 0.4, 4.0),  # just so
        (THREE, 1, 1.0, 22.0),  # 2 + 10 + 10 + 10: the network is never idle
        (THREE, 15, 0.1, 1.0),  # 6 + 2, then 10 + 1
        (THREE, 1000, 0.1, 3.0),  # one bucket is summed when the backward pass has ended
        (profile_of((10, 2.0), backward_s=10.0), 1, 0.5, 0.0),  # hidden behind the rest
        (profile_of((10, 2.0), backward_s=10.0), 1, 1.0, 2.0),
    ],
)
def test_a_step_waits_for_what_its_backward_pass_does_not_hide(
    profile: Profile, bucket_bytes: int, byte_s: float, exposed_s: float
) -> None:
    taken = step(profile, bucket_bytes, lambda size_bytes: byte_s * size_bytes)
    assert taken.exposed_s == pytest.approx(exposed_s)
    assert taken.step_s == pytest.approx(15.0 + exposed_s)


def test_a_scaled_profile_keeps_its_course() -> None:
    scaled = THREE.scaled(30.0)
    assert (scaled.forward_s, scaled.backward_s) == pytest.approx((10.0, 20.0))
    assert [gradient.ready_s for gradient in scaled.gradients] == pytest.approx([4.0, 12.0, 20.0])


def training(size_bytes: int = 8 << 20, compute_s: float = 0.15) -> Profile:
    """A step of four equal gradients, the first of them late in the backward pass."""
    part = size_bytes // 4
    return profile_of(*((part, 7.0 + k) for k in range(4))).scaled(compute_s)


EVEN = parse_network("3 x 1gbit")
SLOW = parse_network("3 x 1gbit + 1 x 200mbit")
RACKS = parse_network("2 x 1gbit | 2 x 1gbit / 200mbit, 100us")


@pytest.fixture(scope="module")
def slow_plan() -> Plan:
    return make_plan("a model", training(), Prices(SLOW))


@pytest.mark.parametrize("network", [EVEN, RACKS], ids=["even", "racks"])
def test_no_candidate_beats_the_plan(network: Network) -> None:
    made = make_plan("a model", training(), Prices(network))
    assert made.step_s <= min(candidate.step_s for candidate in made.candidates)


def test_a_plan_lists_every_candidate_fastest_first(slow_plan: Plan) -> None:
    names = {*candidate_names(SLOW), FOREST}
    assert {candidate.algorithm for candidate in slow_plan.candidates} == names
    steps_s = [candidate.step_s for candidate in slow_plan.candidates]
    assert steps_s == sorted(steps_s)
    assert slow_plan.step_s <= steps_s[0]


def test_a_plan_has_a_choice_for_each_of_its_buckets(slow_plan: Plan) -> None:
    sizes = {bucket.size_bytes for bucket in bucketed(training(), slow_plan.bucket_bytes)}
    assert [size for size, _ in slow_plan.choices] == sorted(sizes)
    for _, choice in slow_plan.choices:
        collectives.prove(choice.schedule(SLOW.size))


def test_a_plan_may_be_made_of_one_candidate_alone() -> None:
    alone = restricted(Prices(EVEN), "chain")
    made = make_plan("a model", training(), alone, (1 << 20,))
    assert {choice.algorithm for _, choice in made.choices} == {"chain"}
    assert made.bucket_bytes == 1 << 20


def test_a_way_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(UserError, match="no way 'chian'; did you mean 'chain'"):
        restricted(Prices(EVEN), "chian")


def test_a_plan_for_one_host_sums_nothing() -> None:
    made = make_plan("a model", training(), Prices(parse_network("1 x 1gbit")))
    assert (made.choices, made.candidates) == ((), ())
    assert made.step_s == made.compute_s
    assert made.algorithm == GLOO


def test_json_gives_back_the_plan_that_was_made(slow_plan: Plan) -> None:
    assert Plan.from_json(slow_plan.to_json()) == slow_plan


PRICES = Prices(EVEN)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1 << 28))
def test_prices_between_sizes_grow_with_the_size(size_bytes: int) -> None:
    for name in ("ring", "binomial_tree", GLOO):
        assert PRICES.seconds(name, size_bytes) <= PRICES.seconds(name, size_bytes + 1)


@pytest.mark.parametrize("exponent", [6, 8, 10, 12])
def test_a_price_at_a_power_of_four_is_that_of_the_schedule(exponent: int) -> None:
    size_bytes = 4**exponent
    for name in ("ring", "chain", GLOO):
        priced = known(name, EVEN, size_bytes).price(EVEN, size_bytes)
        assert PRICES.seconds(name, size_bytes) == pytest.approx(priced.time_s)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("3 x 1gbit", set()),
        ("5 x 1gbit", {"kary_tree:4"}),
        ("4 x 1gbit + 2 x 400mbit", {"hierarchical:4", "kary_tree:5"}),
        ("2 x 1gbit | 2 x 1gbit / 1gbit", {"hierarchical:2", "kary_tree:3"}),
        ("3 x 1gbit | 1 x 1gbit / 1gbit", {"kary_tree:3"}),
    ],
)
def test_candidates_with_a_number_fit_the_network(text: str, kinds: set[str]) -> None:
    assert set(candidate_names(parse_network(text))) == {GLOO, *collectives.names(), *kinds}


@pytest.mark.parametrize(
    ("text", "uneven"),
    [
        ("4 x 1gbit", False),
        ("3 x 1gbit + 1 x 950mbit", False),
        ("3 x 1gbit + 1 x 500mbit", True),
        ("4 x 1gbit:500mbit", True),
        ("2 x 1gbit | 2 x 1gbit / 2gbit", True),
    ],
)
def test_a_forest_is_grown_where_ports_differ_or_uplinks_are_shared(
    text: str, uneven: bool
) -> None:
    assert is_uneven(parse_network(text)) == uneven
    assert (FOREST in Prices(parse_network(text)).names) == uneven


def test_a_plan_says_the_computation_is_the_limit_only_where_little_is_exposed() -> None:
    for network, limit in (
        ("2 x 10gbit", "computation"),
        ("2 x 10mbit", "all ports"),
        ("1 x 10mbit + 3 x 100mbit", "host 0 up"),
    ):
        assert make_plan("m", training(), Prices(parse_network(network))).limited_by == limit


def test_where_the_backends_own_is_near_the_bound_no_other_is_priced() -> None:
    prices = Prices(EVEN)
    assert prices.best(1 << 24) == GLOO
    assert prices.seconds(GLOO, 1 << 24) <= 1.03 * lower_bound_s(EVEN, 1 << 24)
    assert {name for name, _ in prices._priced} == {GLOO}
    slow = Prices(SLOW)
    seconds = {name: slow.seconds(name, 1 << 24) for name in slow.names}
    assert slow.best(1 << 24) == best_of(seconds) != GLOO


def test_the_backends_own_is_taken_unless_another_is_clearly_faster() -> None:
    assert best_of({"ring": 1.0, GLOO: 1.029, "chain": 1.2}) == GLOO
    assert best_of({"ring": 1.0, GLOO: 1.031, "chain": 1.2}) == "ring"
    assert best_of({"ring": 1.0, "chain": 0.9}) == "chain"
