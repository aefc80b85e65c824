"""Order and shares are pure: nothing is lost, nothing comes twice, whatever the world size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firetree.data.order import batches_in_order, epoch_order, epoch_steps, hold_out, share

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


@given(counts, st.integers(1, 70))
def test_shares_are_the_batch_cut_in_pieces_that_differ_by_one_at_most(
    count: int, world_size: int
) -> None:
    indices = epoch_order(count, 0, 0)
    shares = [share(indices, rank, world_size) for rank in range(world_size)]
    assert np.array_equal(np.concatenate(shares), indices)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.integers(2, 200), st.floats(0.001, 0.999), seeds)
def test_a_held_out_set_and_the_rest_are_all_images_once(
    count: int, fraction: float, seed: int
) -> None:
    train, test = hold_out(count, fraction, seed)
    assert sorted([*train, *test]) == list(range(count))
    assert len(train) >= 1
    assert len(test) >= 1
    assert abs(len(test) - count * fraction) <= 1


def test_order_depends_on_seed_and_on_epoch() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))


def test_the_held_out_set_depends_on_the_seed() -> None:
    assert len({tuple(hold_out(50, 0.2, seed)[1]) for seed in range(5)}) == 5
