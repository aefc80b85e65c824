"""A run ends at its target, or once accuracy has not improved for a while; else at its last step."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.metrics import Evaluation
from firetree.training.loop import _Course
from firetree.training.recipe import OptimRecipe, Recipe

ACCURACIES = st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), max_size=8)


def evaluated(accuracies: list[float]) -> list[Evaluation]:
    return [Evaluation(test_loss=1.0, accuracy=accuracy) for accuracy in accuracies]


def course(**optim: object) -> _Course:
    return _Course(Recipe(optim=replace(OptimRecipe(epochs=20), **optim)), 10)  # type: ignore[arg-type]


@given(ACCURACIES, st.integers(1, 4))
def test_patience_counts_evaluations_since_the_first_best_one(
    accuracies: list[float], patience: int
) -> None:
    ends = course(patience=patience).ends_early(evaluated(accuracies))
    window = accuracies[-patience:]
    is_stuck = len(accuracies) > patience and max(window) <= max(accuracies[:-patience])
    assert bool(ends) == is_stuck
    assert not course().ends_early(evaluated(accuracies))


@given(ACCURACIES)
def test_a_target_is_reached_by_the_last_evaluation_alone(accuracies: list[float]) -> None:
    ends = course(target_accuracy=0.5).ends_early(evaluated(accuracies))
    assert bool(ends) == (bool(accuracies) and accuracies[-1] >= 0.5)


@pytest.mark.parametrize(("step", "is_over"), [(199, False), (200, True)])
def test_else_it_ends_at_its_last_step(step: int, is_over: bool) -> None:
    assert course().is_over(step, evaluated([0.1, 0.1])) == is_over


@pytest.mark.parametrize(("losses", "ends"), [([3.0, 2.0, 2.5], False), ([2.0, 2.5, nan], True)])
def test_without_an_accuracy_patience_follows_the_loss(losses: list[float], ends: bool) -> None:
    found = [Evaluation(test_loss=loss, accuracy=None) for loss in losses]
    assert bool(course(patience=2).ends_early(found)) == ends
