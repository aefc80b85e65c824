"""When a run thinks that its links have changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from firetree.trace import BucketSpan, StepTrace
from firetree.training.planning import Watch


def watch_after(sums_s: Sequence[float]) -> Watch:
    watch = Watch()
    for number, sum_s in enumerate(sums_s):
        spans = tuple(BucketSpan(k, 8, 0.0, k * sum_s / 2, (k + 1) * sum_s / 2) for k in range(2))
        spans = spans if sum_s else ()
        watch.add(StepTrace(number, 0.0, 0.0, 0.1, 0.2, 0.0, 1, 0, spans))
    return watch


@pytest.mark.parametrize(
    ("later_s", "change"),
    [([0.4] * 5, 4.0), ([0.05] * 5, 0.5), ([0.1, 0.1, 0.4, 0.4, 0.4], 4.0)],
)
def test_sums_that_take_another_time_are_noticed(later_s: list[float], change: float) -> None:
    watch = watch_after([0.1] * 5 + later_s)
    assert watch.has_changed
    assert watch.change == pytest.approx(change)


@pytest.mark.parametrize(
    "later_s",
    [[], [0.4] * 4, [0.1, 0.9, 0.1, 0.9, 0.1], [0.12] * 20],
    ids=["nothing yet", "too few steps", "two hiccups", "a little slower"],
)
def test_what_may_be_chance_changes_nothing(later_s: list[float]) -> None:
    assert not watch_after([0.1] * 5 + later_s).has_changed


def test_a_slow_first_step_is_not_the_measure() -> None:
    assert not watch_after([5.0] + [0.1] * 9).has_changed


def test_local_steps_which_sum_nothing_do_not_hide_a_change() -> None:
    alone = [0.0] * 15
    slower = [sum_s for _ in range(5) for sum_s in (*alone, 0.4)]
    watch = watch_after([sum_s for _ in range(5) for sum_s in (*alone, 0.1)] + slower)
    assert watch.change == pytest.approx(4.0)
