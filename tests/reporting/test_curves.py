"""What the course of evaluations tells: a table of made-up curves, and no alarm where only chance moves them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.confusion import Confusion
from firetree.metrics import Metrics
from firetree.reporting.curves import course_of


def evaluations(
    train: Sequence[float], test: Sequence[float], accuracy: Sequence[float] | None = None
) -> list[Metrics]:
    accuracies = accuracy or [1 - 0.9 * it / max(map(abs, test)) for it in test]
    return [
        Metrics(
            step=10 * k,
            epoch=k,
            lr=0.1,
            train_loss=one,
            test_loss=other,
            accuracy=each,
            samples_per_s=1.0,
        )
        for k, (one, other, each) in enumerate(zip(train, test, accuracies, strict=True), 1)
    ]


def falling(count: int, least: float = 0.1, tau: float = 2.0) -> list[float]:
    return [least + (2.3 - least) * math.exp(-k / tau) for k in range(count)]


OVER = [2.0, 1.2, 0.8, 0.65, 0.61, 0.66, 0.72, 0.79, 0.87, 0.94]
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("train", "test", "kind", "epoch"),
    [
        (falling(20), falling(20, 0.3), "steady", None),
        (falling(10), OVER, "over_fitted", 6),
        (falling(4), [0.6, 0.8, 1.0, 1.1], "over_fitted", 2),
        # Where both rise, steps are too long, or the task grew harder: nothing is learned by heart.
        ([2.0, 1.2, 0.8, 0.65, 0.61, 0.66, 0.72, 0.79, 0.87, 0.90], OVER, "steady", None),
        # One bad evaluation is chance.
        (falling(8), [2.0, 1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 1.2], "steady", None),
        (falling(9, 0.1, 9), falling(9, 0.2, 9), "still_learning", 8),
        ([2.3, 2.9, 2.4, 2.2], [2.3, 2.9, 2.5, 2.3], "loss_rose", 2),
        ([2.0, 1.0, 0.5, 1.2, 1.1], [2.0, 1.0, 0.5, 1.2, 1.1], "loss_rose", 4),
        # Small losses double by chance.
        ([2.3, 0.1, 0.002, 0.004, 0.001], [2.3, 0.2, 0.2, 0.2, 0.2], "steady", None),
        ([2.3, NAN], [2.3, 2.3], "not_finite", 2),
        ([2.3, 2.0, 1.9], [2.3, INF, 1.9], "not_finite", 2),
        (falling(2), falling(2), None, None),
        ([], [], None, None),
    ],
)
def test_a_course_has_the_verdict_that_a_person_gives_it(
    train: list[float], test: list[float], kind: str | None, epoch: int | None
) -> None:
    given = evaluations(train, test)
    found = course_of(given)
    assert (found.kind if found else None) == kind
    if found and epoch:
        assert given[found.at].epoch == epoch


def confused(total: Sequence[int], right: Sequence[int]) -> Confusion:
    return Confusion(1, 1, tuple(right), tuple(total), (), ())


@pytest.mark.parametrize(
    ("train", "accuracy", "total", "right", "kind"),
    [
        ([2.31, 2.30, 2.30], [0.10, 0.11, 0.10], [36] * 10, [36] + [0] * 9, "nothing"),
        ([3.40, 2.30, 2.30], [0.10, 0.11, 0.10], [36] * 10, [36] + [0] * 9, "above_guessing"),
        # A training set learned by heart, or few test images, are not nothing.
        ([2.31, 1.50, 0.40], [0.10, 0.11, 0.10], [36] * 10, [36] + [0] * 9, "steady"),
        # The rate may be too low as well.
        ([3.40, 3.40, 3.40], [0.10, 0.11, 0.10], [36] * 10, [36] + [0] * 9, "nothing"),
        ([2.31, 1.50, 1.20], [0.10, 0.40, 0.60], [36] * 10, [22] * 10, "steady"),
        # Nine of ten images are of one class, which is always told: nothing; or not always: something.
        ([0.40, 0.33, 0.33], [0.90, 0.90, 0.90], [180, 20], [180, 0], "nothing"),
        ([0.40, 0.30, 0.25], [0.90, 0.91, 0.92], [180, 20], [172, 12], "steady"),
        ([0.1, 0.1, 0.1], [1.0, 1.0, 1.0], [50], [50], "steady"),
    ],
)
def test_guessing_is_told_from_learning_by_each_class(
    train: list[float], accuracy: list[float], total: list[int], right: list[int], kind: str
) -> None:
    found = course_of(evaluations(train, train, accuracy), confused(total, right))
    assert found
    assert found.kind == kind


CHANCE = st.floats(0.95, 1.05)
HEALTHY = st.integers(3, 40).flatmap(
    lambda count: st.tuples(
        st.floats(0.05, 2.0),
        st.floats(0.2, count / 6),
        *[st.lists(CHANCE, min_size=count, max_size=count)] * 2,
    )
)


@given(HEALTHY)
def test_a_healthy_course_gives_no_alarm_whatever_chance_of_5_percent_does(
    drawn: tuple[float, float, list[float], list[float]],
) -> None:
    least, tau, *chances = drawn
    train, test = (
        [value * chance for value, chance in zip(falling(len(it), least, tau), it, strict=True)]
        for it in chances
    )
    found = course_of(evaluations(train, test))
    assert found
    assert found.kind in ("steady", "still_learning")


@pytest.mark.parametrize("deviation", [0.02, 0.05, 0.1])
def test_noise_of_few_test_images_rarely_looks_like_learning_by_heart(deviation: float) -> None:
    drawn = random.Random(0)
    alarms = 0
    for _ in range(300):
        count = drawn.randint(4, 40)
        chances = [[drawn.gauss(1, deviation) for _ in range(count)] for _ in range(2)]
        curves = falling(count, 0.2), falling(count, 0.5)
        noisy = [
            [v * c for v, c in zip(*it, strict=True)] for it in zip(curves, chances, strict=True)
        ]
        found = course_of(evaluations(*noisy))
        alarms += found is not None and found.kind in ("over_fitted", "loss_rose")
    assert alarms <= 3


@given(st.floats(1.3, 4.0), st.integers(3, 30), st.integers(5, 30))
def test_a_loss_that_rises_steadily_is_found_whatever_came_before(
    rise: float, before: int, after: int
) -> None:
    down = falling(before, 0.5, before / 4)
    up = [down[-1] * (1 + (rise - 1) * (k + 3) / (after + 2)) for k in range(after)]
    train = falling(before + after, 0.0, before)
    found = course_of(evaluations(train, down + up))
    assert found
    assert found.kind == "over_fitted"


def test_what_goes_on_is_not_said_to_have_ended_too_early() -> None:
    curves = evaluations(falling(9, 0.1, 9), falling(9, 0.2, 9))
    found = course_of(curves, is_over=False)
    assert found
    assert found.kind == "steady"
