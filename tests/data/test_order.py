"""The order is pure: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.data.order import batches_in_order, epoch_order, epoch_steps, hold_out

counts = st.integers(0, 200)
seeds = st.integers(0, 2**32 - 1)


@given(counts, seeds, st.integers(0, 9))
def test_an_epoch_has_every_image_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(count, seed, epoch)) == list(range(count))


@given(counts, seeds, st.integers(1, 70))
def test_the_steps_of_an_epoch_are_its_order_cut_in_pieces(
    count: int, seed: int, batch_size: int
) -> None:
    order = epoch_order(count, seed, 0)
    steps = epoch_steps(count, batch_size)
    pieces = batches_in_order(order, batch_size)
    assert [len(piece) for piece in pieces[:-1]] == [batch_size] * max(0, steps - 1)
    assert all(len(piece) > 0 for piece in pieces)
    assert np.array_equal(np.concatenate([order[:0], *pieces]), order)


class_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=30).filter(lambda it: sum(it) > 1)
fractions = st.floats(0.001, 0.999)


def labels_of(sizes: list[int], seed: int) -> np.ndarray:
    """So many images of each class, in any order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(class_sizes, fractions, seeds)
def test_a_held_out_set_and_the_rest_are_all_images_once(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels_N = labels_of(sizes, seed)
    train, test = hold_out(labels_N, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(labels_N)))
    assert min(len(train), len(test)) >= 1
    assert np.array_equal(test, hold_out(labels_N, fraction, seed)[1])


@given(class_sizes.filter(lambda sizes: max(sizes) > 1), fractions, seeds)
def test_each_class_gives_its_share_and_keeps_an_image_to_train_on(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels_N = labels_of(sizes, seed)
    _, test = hold_out(labels_N, fraction, seed)
    counts, count = np.array(sizes), sum(sizes)
    held_out = min(max(1, round(count * fraction)), count - 1)
    tests = np.bincount(labels_N[test], minlength=len(sizes))
    exact = counts * held_out / count
    assert (np.abs(tests - exact) < 1).all()
    assert (tests < counts).all()
    most = np.minimum(-(-counts * held_out // count), counts - 1).sum()
    assert len(test) == min(held_out, most)
    if (tests[counts > 1] == 0).any():
        assert (tests[tests > counts * held_out // count] == 1).all()


@given(st.integers(2, 200), fractions, seeds)
def test_classes_of_one_image_each_are_divided_as_one(
    count: int, fraction: float, seed: int
) -> None:
    train, test = hold_out(np.arange(count), fraction, seed)
    assert len(test) == min(max(1, round(count * fraction)), count - 1)
    assert len(train) + len(test) == count


@pytest.mark.parametrize(
    ("sizes", "fraction", "tests"),
    [
        ([200, 80, 20, 5, 1], 0.2, [40, 16, 4, 1, 0]),
        ([1000, 3, 3], 0.2, [199, 1, 1]),
        ([10, *[1] * 50], 0.2, [2, *[0] * 50]),
        ([2, 2], 0.9, [1, 1]),
        ([600] * 10, 0.2, [120] * 10),
    ],
)
def test_rare_classes_are_tested_where_they_can_spare_an_image(
    sizes: list[int], fraction: float, tests: list[int]
) -> None:
    for seed in range(3):
        labels_N = labels_of(sizes, seed)
        _, test = hold_out(labels_N, fraction, seed)
        assert np.bincount(labels_N[test], minlength=len(sizes)).tolist() == tests


def test_order_depends_on_seed_and_on_epoch() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))


def test_the_held_out_set_depends_on_the_seed() -> None:
    assert len({tuple(hold_out(np.zeros(50, np.int64), 0.2, seed)[1]) for seed in range(5)}) == 5
