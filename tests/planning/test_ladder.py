"""The way to sum a buffer of any size, without knowing the sizes beforehand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.network import Network
from firetree.planning.candidates import GLOO, WORTH_A_CHANGE
from firetree.planning.ladder import Ladder, ladder_on_one_host, priced_ladder, sizes_up_to
from firetree.planning.plan import Prices

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def uneven() -> Prices:
    return Prices(Network.load("3 x 200mbit + 1 x 50mbit"))


@pytest.fixture(scope="module")
def ladder(uneven: Prices) -> Ladder:
    return priced_ladder(uneven, MOST_BYTES)


def test_each_rung_is_the_cheapest_way_but_for_what_is_not_worth_a_change(
    uneven: Prices, ladder: Ladder
) -> None:
    for rung in ladder.rungs:
        least_s = min(uneven.seconds(name, rung.size_bytes) for name in uneven.names)
        assert rung.sum_s is not None
        assert rung.sum_s <= WORTH_A_CHANGE * least_s


def test_no_size_is_slower_than_by_the_backend(uneven: Prices, ladder: Ladder) -> None:
    for size in (10_000, 300_000, 1_500_000, MOST_BYTES):
        taken_s = ladder.choice_for(size).price(uneven.network, size).time_s
        assert taken_s <= 1.1 * uneven.seconds(GLOO, size)


def test_a_slow_host_gets_another_way_than_equal_hosts(ladder: Ladder) -> None:
    assert ladder.algorithm != GLOO
    assert priced_ladder(Prices(Network.load("4 x 200mbit")), MOST_BYTES).algorithm == GLOO


@given(st.integers(1, 2 * MOST_BYTES))
def test_every_size_has_a_way_that_can_be_run_and_a_price_between_its_rungs(size: int) -> None:
    ladder = priced_ladder(_EQUAL, MOST_BYTES)
    ladder.choice_for(size).check(2)
    seconds = ladder.seconds(size)
    assert seconds is not None
    least, most = ladder.rungs[0].sum_s, ladder.rungs[-1].sum_s
    assert least is not None
    assert most is not None
    assert least <= seconds <= most


_EQUAL = Prices(Network.load("2 x 1gbit"))


def test_its_json_is_read_back(ladder: Ladder) -> None:
    assert Ladder.from_json(ladder.to_json()) == ladder


@pytest.mark.parametrize(
    ("world_size", "size_bytes", "name"),
    [
        (2, 1_000, "ring"),
        (2, 100 << 20, "ring"),
        (4, 100_000, "binomial_tree"),
        (4, 25 << 20, "circulant"),
        (4, 100 << 20, "ring"),
        (16, 1 << 20, "binomial_tree"),
        (16, 25 << 20, GLOO),
    ],
)
def test_on_one_host_it_takes_what_was_measured_fastest(
    world_size: int, size_bytes: int, name: str
) -> None:
    ladder = ladder_on_one_host(world_size, 200 << 20, private=False)
    assert ladder.choice_for(size_bytes).algorithm == name
    assert ladder.seconds(size_bytes) is None


def test_what_is_private_is_never_summed_by_the_backend() -> None:
    assert GLOO not in ladder_on_one_host(16, 200 << 20, private=True).algorithms


def test_it_says_what_it_takes_for_which_sizes(ladder: Ladder) -> None:
    said = str(ladder)
    assert said.endswith("a sum of 5 MB should take " + said.rpartition("take ")[2])
    assert ladder.algorithm in said
    one_host = str(ladder_on_one_host(4, 200 << 20, private=False))
    assert one_host == "binomial_tree up to 4.194 MB, circulant up to 67.11 MB, above ring"


def test_sizes_end_with_all_gradients() -> None:
    assert list(sizes_up_to(20_000)) == [4096, 8192, 16384, 20_000]
    assert list(sizes_up_to(100)) == [4096]
