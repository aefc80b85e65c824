"""Sequences made by seed: what they hold, and how ranks share them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from firetree.data.batches import NO_ANSWER
from firetree.data.recall import multi_query, retrieval
from firetree.data.sequences import SequenceLoader, SequenceSplits

Make = Callable[[int, int, str, int], SequenceSplits]


def test_an_answer_is_the_digit_behind_the_asked_letter() -> None:
    splits = retrieval(4, 500, "test", 0)
    assert splits.train.x_NT.shape == (500, 11)
    for x, answer in zip(splits.train.x_NT, splits.train.y, strict=True):
        keys, values, (first, second, query) = x[:8:2], x[1:8:2], x[8:]
        assert len(set(keys)) == 4
        assert keys.max() < 26
        assert first == second == len(splits.symbols) - 1 == 36
        assert values[list(keys).index(query)] - 26 == answer


def test_symbols_have_the_papers_letters_digits_and_question_mark() -> None:
    assert "".join(retrieval(4, 1, "test", 0).symbols) == "abcdefghijklmnopqrstuvwxyz0123456789?"
    assert multi_query(2, 1, "test", 0).symbols == ("a", "b", "c", "d", "0", "1", "2", "3")
    for pairs in (26, 27, 64):
        symbols = multi_query(pairs, 1, "test", 0).symbols
        assert len(set(symbols)) == 4 * pairs


def test_each_key_that_comes_again_asks_for_its_value() -> None:
    splits = multi_query(6, 200, "validation", 0)
    for x, y in zip(splits.train.x_NT, splits.train.y, strict=True):
        held = dict(zip(x[:12:2], x[1:12:2], strict=True))
        assert (y[:12] == NO_ANSWER).all()
        assert sorted(x[12:]) == sorted(held)
        assert [held[key] - 12 for key in x[12:]] == list(y[12:])


def test_there_may_be_more_pairs_than_letters() -> None:
    x_NT = retrieval(64, 10, "test", 0).train.x_NT
    assert all(len(set(x[:128:2])) == 64 for x in x_NT)


@pytest.mark.parametrize("make", [retrieval, multi_query])
def test_the_same_seed_makes_the_same_sequences_and_no_part_is_another(make: Make) -> None:
    one, same, other = (make(4, 1000, "test", seed) for seed in (1, 1, 2))
    assert np.array_equal(one.train.x_NT, same.train.x_NT)
    assert not np.array_equal(one.train.x_NT, other.train.x_NT)
    assert not np.array_equal(one.train.x_NT, one.test.x_NT[:1000])
    assert (len(one.test), len(make(4, 1, "validation", 1).test)) == (20_000, 10_000)


@pytest.mark.parametrize("make", [retrieval, multi_query])
def test_ranks_together_have_the_batches_of_one(make: Make) -> None:
    splits = make(3, 101, "test", 0)

    def batches(rank: int, world_size: int):
        loader = SequenceLoader(
            lambda epoch: splits.train,
            splits.test,
            batch_size=10,
            seed=0,
            rank=rank,
            world_size=world_size,
        )
        return list(loader.training_batches(2, first_step=3))

    alone = batches(0, 1)
    for whole, *parts in zip(alone, *(batches(rank, 3) for rank in range(3)), strict=True):
        assert torch.equal(whole.x, torch.cat([part.x for part in parts]))
        assert torch.equal(whole.y, torch.cat([part.y for part in parts]))
        assert whole.count == whole.global_count == sum(part.count for part in parts)
        assert all(part.global_count == whole.global_count for part in parts)
    assert len(alone) == 11 - 3
