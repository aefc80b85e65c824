"""Global random numbers follow from seeds, and a dataset's go on apart from those of training."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from firetree.seeding import Luck, seed_all, seeds


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(()).item()


@given(st.integers(0, 2**32 - 1))
def test_all_generators_follow_from_a_seed(seed: int) -> None:
    seed_all(seed)
    first = drawn()
    assert drawn() != first
    seed_all(seed)
    assert drawn() == first


def test_seeds_depend_on_the_key_and_not_on_how_many_are_asked_for() -> None:
    few, many = seeds((1, 2), 3), seeds((1, 2), 300)
    assert few.tolist() == many[:3].tolist()
    assert len({*many.tolist(), *seeds((2, 1), 300).tolist()}) == 600


def test_luck_goes_on_where_it_was_left_and_leaves_others_alone() -> None:
    seed_all(1)
    expected = [drawn() for _ in range(3)]
    seed_all(1)
    luck = Luck()
    seed_all(2)
    others = [drawn() for _ in range(3)]
    seed_all(2)
    for k in range(3):
        with luck.in_use():
            assert drawn() == expected[k]
        assert drawn() == others[k]
