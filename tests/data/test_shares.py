"""Whatever the shares, each sample is on one rank; by speed, no other shares are done sooner."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import load

from firetree.data import Augmentation, Loader
from firetree.data.order import epoch_order, step_size
from firetree.data.shares import Shares, apportion, begun_anew, cuts, share, step_sizes

counts = st.integers(0, 200)
shares_of_ranks = st.lists(st.integers(1, 90), min_size=1, max_size=12).map(tuple)
speeds_of_ranks = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)


@given(counts, st.integers(1, 70))
def test_equal_shares_are_the_batch_cut_in_pieces_that_differ_by_one_at_most(
    count: int, world_size: int
) -> None:
    indices = epoch_order(count, 0, 0)
    shares = [share(indices, rank, (1,) * world_size) for rank in range(world_size)]
    assert np.array_equal(np.concatenate(shares), indices)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(counts, shares_of_ranks)
def test_shares_of_any_size_are_the_batch_in_order(count: int, shares: Shares) -> None:
    indices = epoch_order(count, 0, 0)
    parts = [share(indices, rank, shares) for rank in range(len(shares))]
    assert np.array_equal(np.concatenate(parts), indices)
    exact = count * np.array(shares) / sum(shares)
    assert (np.abs([*map(len, parts)] - exact) < 1).all()


@given(shares_of_ranks)
def test_a_whole_batch_is_cut_into_the_very_shares(shares: Shares) -> None:
    assert tuple(np.diff(cuts(sum(shares), shares))) == shares


@given(st.integers(0, 200), speeds_of_ranks)
def test_each_rank_gets_a_sample_and_together_they_get_all(more: int, speeds: list[float]) -> None:
    shares = apportion(len(speeds) + more, speeds)
    assert sum(shares) == len(speeds) + more
    assert min(shares) >= 1


@given(st.integers(0, 200), speeds_of_ranks)
def test_no_other_shares_are_done_sooner(more: int, speeds: list[float]) -> None:
    shares = apportion(len(speeds) + more, speeds)
    slowest = max(range(len(speeds)), key=lambda rank: shares[rank] / speeds[rank])
    if shares[slowest] > 1:
        # The last sample that the slowest got would be done no sooner anywhere else.
        done_s = shares[slowest] / speeds[slowest]
        elsewhere = [(count + 1) / speed for count, speed in zip(shares, speeds, strict=True)]
        assert min(elsewhere) >= done_s * (1 - 1e-12)


@given(st.integers(0, 200), speeds_of_ranks)
def test_a_larger_batch_takes_no_sample_from_a_rank(more: int, speeds: list[float]) -> None:
    count = len(speeds) + more
    pairs = zip(apportion(count, speeds), apportion(count + 1, speeds), strict=True)
    assert all(after >= before for before, after in pairs)


@pytest.mark.parametrize(
    ("count", "speeds", "shares"),
    [
        (128, (1.0, 1.0, 0.5, 0.5), (43, 43, 21, 21)),
        (70, (4.0, 2.0, 1.0), (40, 20, 10)),
        (4, (1000.0, 1.0, 1.0, 1.0), (1, 1, 1, 1)),
        (64, (3.0,), (64,)),
        (10, (1.0, 1.0, 1.0), (4, 3, 3)),
    ],
)
def test_shares_are_in_proportion_to_speeds(
    count: int, speeds: tuple[float, ...], shares: Shares
) -> None:
    assert apportion(count, speeds) == shares


@given(st.integers(1, 300), st.integers(1, 70))
def test_the_sizes_of_an_epochs_steps_are_all_its_samples(count: int, batch_size: int) -> None:
    steps = -(-count // batch_size)
    sizes = [step_size(count, batch_size, steps + step) for step in range(steps)]
    assert sum(sizes) == count
    assert sizes[:-1] == [batch_size] * (steps - 1)


def test_after_new_shares_batches_begin_anew_at_the_next_step() -> None:
    shares = [(1, 1)]
    begun = []

    def begin(step: int) -> Generator[tuple[int, Shares]]:
        begun.append(step)
        prepared_with = shares[0]
        yield from ((k, prepared_with) for k in range(step, 9))

    batches = begun_anew(lambda: shares[0], begin, 2)
    assert [*islice(batches, 3)] == [(2, (1, 1)), (3, (1, 1)), (4, (1, 1))]
    shares[0] = (3, 1)
    assert [*batches] == [(k, (3, 1)) for k in range(5, 9)]
    assert begun == [2, 5]


def test_when_shares_change_within_an_epoch_each_image_is_still_seen_once() -> None:
    splits = load("digits", test_fraction=0.2)
    usual = {"batch_size": 100, "seed": 3, "augmentation": Augmentation(), "threads": 2}
    loaders = [Loader(splits, rank=rank, world_size=3, **usual) for rank in range(3)]
    streams = [loader.batches(0) for loader in loaders]
    steps = -(-len(splits.train) // 100)
    seen = []
    for step in range(steps):
        if step in (2, 9):
            for loader in loaders:
                loader.shares = (70, 20, 10) if step == 2 else (10, 1, 89)
        parts = [next(stream).places for stream in streams]
        if 2 <= step < 9:
            assert [*map(len, parts)] == [70, 20, 10]
        seen.append(np.concatenate(parts))
    for stream in streams:
        stream.close()
    assert np.array_equal(np.concatenate(seen), epoch_order(len(splits.train), 3, 0))


@given(st.integers(1, 9), st.integers(0, 20), st.integers(0, 200))
def test_steps_see_all_samples_and_no_rank_is_without(ranks: int, more: int, others: int) -> None:
    batch_size = ranks + more
    count = batch_size + others
    sizes = step_sizes(count, batch_size, ranks)
    assert sum(sizes) == count
    assert {*sizes[:-1]} <= {batch_size}
    assert ranks <= sizes[-1] < batch_size + ranks
