"""The learning rate's warm-up and its four rules."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firetree.training.learning_rate import learning_rate
from firetree.training.recipe import OptimRecipe

TOTAL, EPOCH = 100, 10


def test_squeezenets_rule_is_a_straight_line_from_lr_to_0() -> None:
    optim = OptimRecipe(lr=0.04)
    rates = [learning_rate(optim, step, TOTAL, EPOCH) for step in (0, 25, 50, 99)]
    assert rates == pytest.approx([0.04, 0.03, 0.02, 0.0004])


def test_the_cosine_rule_is_pytorchs() -> None:
    optim = OptimRecipe(lr=0.1, rule="cosine")
    peer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(peer, TOTAL)
    for step in range(TOTAL):
        assert learning_rate(optim, step, TOTAL, EPOCH) == pytest.approx(schedule.get_last_lr()[0])
        peer.step()
        schedule.step()


def test_the_step_rule_drops_every_so_many_epochs() -> None:
    optim = OptimRecipe(lr=1.0, rule="step", step_epochs=3, step_factor=0.5)
    rates = [learning_rate(optim, epoch * EPOCH, TOTAL, EPOCH) for epoch in range(7)]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@given(
    st.sampled_from(["polynomial", "cosine", "step", "constant"]),
    st.integers(1, 50),
    st.integers(0, TOTAL - 1),
)
def test_the_rate_rises_to_lr_in_the_warm_up_and_never_above(
    rule: str, warmup_steps: int, step: int
) -> None:
    optim = OptimRecipe(lr=0.3, rule=rule, warmup_epochs=warmup_steps / EPOCH)  # type: ignore[arg-type]
    rate = learning_rate(optim, step, TOTAL, EPOCH)
    assert 0 < rate <= 0.3
    if step < warmup_steps:
        assert math.isclose(rate, 0.3 * (step + 1) / warmup_steps)
