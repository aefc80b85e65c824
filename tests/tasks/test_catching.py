"""A player of Catch: what it plays, and that its loss is that of an actor–critic."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.models.families import RecurrentModel
from firetree.tasks import CatchData, Catching, catch, load_catch
from firetree.training import Recipe, with_fields

SMALL = CatchData("catch", size=6, blank_after=2)


def catching(data: CatchData = SMALL) -> Catching:
    return load_catch(data, seed=0)


def player(task: Catching, layer: str = "lstm") -> torch.nn.Module:
    torch.manual_seed(0)
    return task.build({"name": layer, "hidden": 6})


def some_games(task: Catching, count: int) -> Tensor:
    return next(task.loader(batch_size=count, seed=0, rank=0, world_size=1).batches(0)).x


@pytest.mark.parametrize(
    "layer", ["associative_lstm", "delta", "fast_weights", "gru", "irnn", "lstm"]
)
def test_every_layer_plays_and_gets_gradients_also_without_a_game(layer: str) -> None:
    task = catching()
    model = player(task, layer)
    for count in (9, 0):
        model.zero_grad()
        loss = task.loss(model(some_games(task, 9)[:count]), torch.ones(count))
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("blank_after", [1, 3, 9])
def test_a_game_has_a_move_a_frame_and_its_reward_at_the_end(blank_after: int) -> None:
    task = catching(replace(SMALL, blank_after=blank_after))
    log_move_BT, entropy_BT, _, reward_BT = player(task)(some_games(task, 50)).unbind(-1)
    assert log_move_BT.shape == (50, 5)
    assert (log_move_BT < 0).all()
    assert ((entropy_BT > 0) & (entropy_BT <= torch.tensor(3.0).log())).all()
    assert not reward_BT[:, :-1].any()
    assert set(reward_BT[:, -1].tolist()) == {-1.0, 1.0}


def test_luck_draws_each_move_as_often_as_the_policy_has_it() -> None:
    task = catching()
    model = player(task)
    share_3 = torch.tensor([0.2, 0.5, 0.3])
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[:3] = share_3.log()
    games = task.example(1000)
    games[:, 2:] = ((torch.arange(1000) + 0.5) / 1000)[:, None]
    for made_B in model(games)[..., 0].exp().unbind(1):
        counts = [int(made_B.isclose(share).sum()) for share in share_3]
        assert counts == [200, 500, 300]
    assert model.eval()(games)[..., 0].exp().isclose(share_3[1]).all()


def test_what_is_seen_depends_on_moves_until_the_screen_is_blank() -> None:
    """The value before a move knows of the moves before it, if they were seen."""
    task = catching(replace(SMALL, size=8, blank_after=3))
    games = task.example(2)
    games[:, :2] = 3
    games[1, 2:] = 0.99
    values_2T = player(task)(games)[..., 2]
    assert values_2T[0, 0] == values_2T[1, 0]
    assert values_2T[0, 1] != values_2T[1, 1]
    games[1, 2:5] = 0
    games[1, 5:] = 0.99
    same_2T = player(task)(games)[..., 2]
    torch.testing.assert_close(same_2T[0], same_2T[1])


def test_the_moves_that_are_learned_from_are_those_that_the_screens_show() -> None:
    """In bfloat16 too, in which one step alone and all at once may round to either side of luck."""
    task = catching(replace(SMALL, size=12, blank_after=2))
    model, games, screens = player(task), task.game.all_starts(), []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        left_B = model(games)[:, 0, 0]
        games[:, 2] = left_B.exp()
        model.eye.register_forward_pre_hook(lambda _, inputs: screens.append(inputs[0]))
        made_B = model(games)[:, 0, 0]
    paddle_B = screens[-1][:, 1, -1].argmax(-1)
    free_B = games[:, 1] > 0
    assert torch.equal((made_B == left_B)[free_B], (paddle_B < games[:, 1])[free_B])


def test_the_policys_gradient_is_that_of_the_expected_reward() -> None:
    """Over all nine games that a start can have on a screen of three pixels."""
    task = catching(replace(SMALL, size=3, blank_after=1))
    model = player(task)
    luck_92 = torch.tensor(list(product((0.1, 0.5, 0.9), repeat=2)))
    games = torch.cat([torch.tensor([2.0, 0.0]).expand(9, 2), luck_92], 1)
    log_move_BT, entropy_BT, value_BT, reward_BT = model(games).unbind(-1)
    chance_B = log_move_BT.sum(1).exp()
    assert chance_B.sum().item() == pytest.approx(1)
    error_BT = (reward_BT[:, -1:] - value_BT) ** 2
    others_B = (catch.VALUE_WEIGHT * error_BT - catch.ENTROPY_WEIGHT * entropy_BT).sum(1)
    expected = (chance_B.detach() * others_B).sum() - (chance_B * reward_BT[:, -1]).sum()
    ours = sum(
        chance * task.loss(model(one[None]), torch.ones(1))
        for chance, one in zip(chance_B.detach(), games, strict=True)
    )
    gradients = (torch.autograd.grad(loss, list(model.parameters())) for loss in (ours, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", 2, "data.size = 2; expected 3 to 100 for 'catch'"),
        ("size", 101, "data.size = 101; expected 3 to 100"),
        ("pairs", 4, "data.pairs = 4; 'catch' does not have this field"),
        ("held_out", "validation", "data.held_out = validation; 'catch' does not"),
        ("flip", True, "data.flip = True; 'catch' does not have this field"),
        ("test_fraction", 0.1, "data.test_fraction = 0.1; 'catch' does not have"),
        ("path", "x.npz", "data.path = x.npz; 'catch' does not have this field"),
    ],
)
def test_a_game_that_cannot_be_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        with_fields(Recipe(RecurrentModel("lstm"), SMALL), {f"data.{field}": value})
    assert message in str(refusal.value)
