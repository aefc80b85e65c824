"""Plans: steps by hand, buckets as DDP makes them, choices that no candidate beats, what is advised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.commands.text.plan import point_cells
from firetree.errors import UserError
from firetree.models.profile import Gradient, Profile
from firetree.network import Network, parse_network
from firetree.planning.advice import SQUEEZENET_BYTES, LayerSizes, advise
from firetree.planning.candidates import (
    FOREST,
    GLOO,
    best_of,
    candidate_names,
    is_uneven,
    known,
)
from firetree.planning.plan import (
    ForecastPoint,
    Plan,
    Prices,
    make_plan,
    restricted,
    scaling,
    world_sizes,
)
from firetree.planning.step import Bucket, bucketed, step


@pytest.fixture(autouse=True, scope="module")
def short_searches() -> Iterator[None]:
    """Forests need not be good here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firetree.planning.plan._FOREST_TRANSFERS", 1_000)
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


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (11, [1, 2, 4, 8, 11])],
)
def test_world_sizes_double_up_to_all_hosts(most: int, expected: list[int]) -> None:
    assert world_sizes(most) == expected


def test_speedup_is_the_efficiency_of_all_hosts_together() -> None:
    told: list[str] = []
    points = [point for point, _ in scaling("a model", training(), Prices(EVEN), told.append)]
    assert [point.world_size for point in points] == [1, 2, 3]
    assert told == [f"pricing {size} of 3 hosts" for size in (1, 2, 3)]
    for point in points:
        assert point.efficiency == pytest.approx(0.15 / point.step_s)
        assert point.speedup == pytest.approx(point.world_size * point.efficiency)
    assert point_cells(points[0]) == ("1", "150 ms", "1.00", "100%", "none", "computation")


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


def advised(profile: Profile, network: Network, layers: tuple[LayerSizes, ...] = ()) -> list[str]:
    prices = Prices(network)
    made = list(scaling("a model", profile, prices, lambda _: None))
    return advise(profile, prices, [point for point, _ in made], made[-1][1], layers)


def test_on_one_host_there_is_nothing_to_advise() -> None:
    said = advised(training(), parse_network("1 x 1gbit"))
    assert said == ["a network of one host: there is nothing to synchronise"]


def test_a_fast_network_is_worth_it_and_the_processor_is_its_limit() -> None:
    said = advised(training(1 << 16), parse_network("2 x 10gbit"))
    assert said == [
        "2 machines instead of 1 bring 2.00 times the samples a second: worth it",
        "computation is the limit: a faster CPU helps, a faster network does not",
    ]


def test_on_a_slow_network_one_machine_alone_is_fastest_and_remedies_are_named() -> None:
    said = advised(training(8 << 20), parse_network("2 x 1mbit"))
    assert said[0].startswith("one machine alone is fastest: 2 reach 0.0")
    named = [sentence.rpartition(": efficiency")[0] for sentence in said[1:]]
    assert named[:4] == [
        "sync.local_steps = 16 and sync.compression = sparseloco:0.02",
        "sync.compression = topk:0.01",
        "sync.local_steps = 16",
        "links ten times as fast",
    ]
    # 2,097,152 numbers, each for 20 ns, and every 16 steps for 10 ns
    assert said[2].endswith(", beside 41.9 ms of arithmetic on a core")
    assert said[1].endswith(", beside 1.31 ms of arithmetic on a core")
    assert set(named[4:]) == {
        "sync.compression = demo:32",
        "a batch four times as large on each machine (and its learning rate)",
        "sync.compression = int8",
        "sync.compression = fp16",
        "sync.compression = powersgd:4",
    }


def test_a_model_as_small_as_squeezenet_is_advised_for_large_ones_only() -> None:
    network = parse_network("2 x 100mbit")
    for size_bytes, advises in ((10 * SQUEEZENET_BYTES, True), (SQUEEZENET_BYTES, False)):
        said = advised(training(size_bytes), network)
        assert any("a model as small as SqueezeNet (4.942 MB" in it for it in said) == advises


@pytest.mark.parametrize(
    ("speedups", "verdict"),
    [
        ((1.0, 1.9, 3.6), "4 machines instead of 2 bring 1.89 times the samples a second: worth it"),
        ((1.0, 1.9, 2.0), "4 machines instead of 2 bring 1.05 times the samples a second: not worth it"),
        ((1.0, 0.9, 1.04), "one machine alone is fastest: 4 reach 1.04 times its samples a second"),
    ],
)  # fmt: skip
def test_the_last_doubling_is_worth_it_or_not(
    speedups: tuple[float, ...], verdict: str, slow_plan: Plan
) -> None:
    points = [
        ForecastPoint(2**k, 1 / speedup, speedup, speedup / 2**k, "ring", "computation")
        for k, speedup in enumerate(speedups)
    ]
    assert advise(training(), Prices(parse_network("4 x 1gbit")), points, slow_plan)[0] == verdict


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (
            (LayerSizes("conv", 1_000_000, 8_000_000), LayerSizes("fc", 9_000_000, 5_000_000)),
            "data parallelism sends less: gradients, |∇W|, are 10 MB, and activations, |D|, 13 MB "
            "a step on each machine; model parallelism sends less for the layers fc",
        ),
        (
            (LayerSizes("fc", 9_000_000, 5_000_000),),
            "model parallelism sends less: gradients, |∇W|, are 9 MB, and activations, |D|, 5 MB a step on each machine",
        ),
    ],
)
def test_data_and_model_parallelism_are_compared_by_layer(
    layers: tuple[LayerSizes, ...], sentence: str, slow_plan: Plan
) -> None:
    points = [ForecastPoint(k, 1.0, k, 1.0, "ring", "computation") for k in (1, 2)]
    assert (
        advise(training(), Prices(parse_network("2 x 1gbit")), points, slow_plan, layers)[-1]
        == sentence
    )


def test_a_plan_says_the_computation_is_the_limit_only_where_little_is_exposed() -> None:
    for network, limit in (("2 x 10gbit", "computation"), ("2 x 10mbit", "host 0 up")):
        assert make_plan("m", training(), Prices(parse_network(network))).limited_by == limit


def test_the_backends_own_is_taken_unless_another_is_clearly_faster() -> None:
    assert best_of({"ring": 1.0, GLOO: 1.029, "chain": 1.2}) == GLOO
    assert best_of({"ring": 1.0, GLOO: 1.031, "chain": 1.2}) == "ring"
    assert best_of({"ring": 1.0, "chain": 0.9}) == "chain"
