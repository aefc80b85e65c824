"""LARS and LAMB against their papers' formulas and PyTorch's Adam; rates by the batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firetree.training.learning_rate import peak_rate
from firetree.training.optimizers import Lamb, Lars, SignSgd, build_optimizer
from firetree.training.recipe import OptimRecipe


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))
    made.grad = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return made


def test_lars_steps_by_algorithm_1() -> None:
    w = parameter(3, 4)
    before, g = w.detach().clone(), w.grad
    assert g is not None
    optimizer = Lars([w], lr=2.0, momentum=0.9, weight_decay=0.01, trust=0.1)
    local = 0.1 * before.norm() / (g.norm() + 0.01 * before.norm())
    v = 2.0 * local * (g + 0.01 * before)
    optimizer.step()
    torch.testing.assert_close(w.detach(), before - v)
    second = before - v
    local = 0.1 * second.norm() / (g.norm() + 0.01 * second.norm())
    optimizer.step()
    torch.testing.assert_close(w.detach(), second - (0.9 * v + 2.0 * local * (g + 0.01 * second)))


def test_lars_treats_vectors_and_weights_of_length_0_as_sgd_does() -> None:
    for ours, theirs in ((parameter(5), parameter(5)), (parameter(2, 2), parameter(2, 2))):
        if ours.ndim == 2:
            with torch.no_grad():
                ours.zero_(), theirs.zero_()
            steps = 1  # afterwards it has a length
        else:
            steps = 3
        mine, peer = Lars([ours], lr=0.1), torch.optim.SGD([theirs], lr=0.1, momentum=0.9)
        for _ in range(steps):
            mine.step()
            peer.step()
        torch.testing.assert_close(ours, theirs)


def test_lamb_treats_vectors_as_adamw_does() -> None:
    ours, theirs = parameter(7), parameter(7)
    mine = Lamb([ours], lr=0.01, weight_decay=0.1)
    peer = torch.optim.AdamW([theirs], lr=0.01, eps=1e-6, weight_decay=0.1)
    for step in range(5):
        for one in (ours, theirs):
            one.grad = parameter(7, seed=step).grad
        mine.step()
        peer.step()
    # AdamW shrinks the weights before its step, LAMB within it: the same but for rounding.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_lamb_moves_a_tensor_by_its_own_length_times_the_rate() -> None:
    w = parameter(6, 6)
    before = w.detach().clone()
    Lamb([w], lr=0.01).step()
    assert (w.detach() - before).norm() == pytest.approx(0.01 * before.norm().item())


def test_weights_decay_and_biases_do_not() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    for rule in ("none", "lars", "lamb"):
        optimizer = build_optimizer(OptimRecipe(batch_rule=rule, weight_decay=0.1), model)  # type: ignore[arg-type]
        decays = {
            parameter: group["weight_decay"]
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        assert {name: decays[p] for name, p in model.named_parameters()} == {
            "0.weight": 0.1,
            "0.bias": 0.0,
            "1.weight": 0.0,
            "1.bias": 0.0,
        }


@pytest.mark.parametrize(
    ("rule", "factor"), [("none", 1), ("linear", 16), ("lars", 16), ("sqrt", 4), ("lamb", 4)]
)
def test_the_peak_rate_follows_the_batch(rule: str, factor: float) -> None:
    optim = OptimRecipe(lr=0.1, batch_size=1024, batch_rule=rule)  # type: ignore[arg-type]
    assert math.isclose(peak_rate(optim), 0.1 * factor)


def test_signsgd_steps_by_algorithm_1_and_decays_beside_it() -> None:
    w = parameter(3, 4)
    before, g = w.detach().clone(), w.grad
    assert g is not None
    SignSgd([w], lr=0.5, weight_decay=0.01).step()
    torch.testing.assert_close(w.detach(), 0.995 * before - 0.5 * g.sign())


def test_nesterov_without_momentum_is_plain_sgd() -> None:
    optim = OptimRecipe(momentum=0.0, nesterov=True)
    assert not build_optimizer(optim, nn.Linear(1, 1)).defaults["nesterov"]
