"""Catch: what every game of it does, and how ranks share the games."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from firetree.data import SequenceLoader
from firetree.data.catch import Catch
from firetree.tasks.catch import Catching

SIZES = st.integers(3, 12)
SEEDS = st.integers(0, 2**32 - 1)
COUNT = 20


def games(game: Catch, seed: int) -> Tensor:
    return game.drawn(np.random.default_rng(seed), COUNT)


def played(game: Catch, seed: int) -> tuple[Tensor, Tensor]:
    """Screens (T + 1, B, N, N) of games with random moves, and the rewards of their last frame."""
    ball_B, paddle_B = games(game, seed)[:, :2].long().unbind(1)
    move_TB = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (game.moves, COUNT)))
    screens = [game.screens(0, ball_B, paddle_B)]
    for frame, move_B in enumerate(move_TB, start=1):
        paddle_B = game.moved(paddle_B, move_B)
        screens.append(game.screens(frame, ball_B, paddle_B))
    return torch.stack(screens), game.rewards(ball_B, paddle_B)


@given(SIZES, SEEDS)
def test_the_ball_falls_a_row_a_frame_in_its_own_column(size: int, seed: int) -> None:
    screens, _ = played(Catch(size, size), seed)
    assert len(screens) == size
    columns = screens[0, :, 0]
    assert (columns.sum(1) == 1).all()
    for frame, screen_BNN in enumerate(screens[:-1]):
        assert torch.equal(screen_BNN[:, frame], columns)
        assert screen_BNN[:, :-1].sum() == COUNT


@given(SIZES, SEEDS)
def test_the_paddle_is_two_pixels_and_moves_by_one_at_most(size: int, seed: int) -> None:
    screens, _ = played(Catch(size, size), seed)
    paddles = screens[:-1, :, -1]
    assert (paddles.sum(2) == 2).all()
    left = paddles.argmax(2)
    assert (paddles.gather(2, left[..., None] + 1) == 1).all()
    assert (left.diff(dim=0).abs() <= 1).all()


@given(SIZES, SEEDS)
def test_the_reward_is_1_where_ball_and_paddle_meet_and_else_minus_1(size: int, seed: int) -> None:
    screens, reward_B = played(Catch(size, size), seed)
    lit_B = screens[-1].sum((1, 2))
    assert torch.equal(reward_B, torch.where(lit_B == 2, 1.0, -1.0))


@given(SIZES, st.integers(1, 12), SEEDS)
def test_the_screen_is_as_ever_and_then_blank(size: int, blank_after: int, seed: int) -> None:
    screens, _ = played(Catch(size, blank_after), seed)
    never_blank, _ = played(Catch(size, size), seed)
    assert torch.equal(screens[:blank_after], never_blank[:blank_after])
    assert not screens[blank_after:].any()


@given(SIZES)
def test_each_start_is_there_once_and_can_be_won(size: int) -> None:
    game = Catch(size, size)
    starts = game.all_starts()
    assert len(starts.unique(dim=0)) == len(starts) == size * (size - 1)
    ball_B, paddle_B = starts[:, :2].long().unbind(1)
    for _ in range(game.moves):
        paddle_B = game.moved(paddle_B, (ball_B - paddle_B).sign() + 1)
    assert (game.rewards(ball_B, paddle_B) == 1).all()


@given(SIZES, SEEDS)
def test_the_same_seed_draws_the_same_games(size: int, seed: int) -> None:
    game = Catch(size, 1)
    assert torch.equal(games(game, seed), games(game, seed))
    assert not torch.equal(games(game, seed), games(game, seed + 1))


def loader(rank: int = 0, world_size: int = 1, seed: int = 0) -> SequenceLoader:
    task = Catching(Catch(5, 2), 25)
    return task.loader(batch_size=10, seed=seed, rank=rank, world_size=world_size)


@pytest.mark.parametrize("which", ["test", "training"])
def test_ranks_together_have_the_batches_of_one(which: str) -> None:
    def batches(rank: int, world_size: int):
        here = loader(rank, world_size)
        found = here.test_batches() if which == "test" else here.batches(2)
        return [batch for batch, _ in zip(found, range(5), strict=False)]

    for whole, *parts in zip(batches(0, 1), *(batches(rank, 3) for rank in range(3)), strict=True):
        assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
        assert {part.global_count for part in parts} == {whole.count}


def test_a_step_has_its_games_wherever_a_run_begins_and_no_other_step_has_them() -> None:
    steps = [batch.x for batch, _ in zip(loader().batches(0), range(7), strict=False)]
    assert [len(x) for x in steps] == [10, 10, 5] * 2 + [10]
    for first in range(7):
        assert torch.equal(next(loader().batches(first)).x, steps[first])
    assert len(torch.cat(steps).unique(dim=0)) == 60
    assert not torch.equal(next(loader(seed=1).batches(0)).x, steps[0])
