"""Rank 0 says once that one worker alone would be faster, and only then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firetree.observing.worth import FIRST_STEPS, LOOKED_AT, Worth
from firetree.planning.scaling import CLEARLY
from firetree.trace import StepTrace


def step(number: int, computed_s: float, waited_s: float) -> StepTrace:
    return StepTrace(
        number,
        0.0,
        0.0,
        computed_s / 2,
        computed_s / 2 + waited_s,
        0.0,
        8,
        0,
        (),
        communication_s=waited_s,
    )


def said(world_size: int, computed_s: float, waited_s: float) -> list[str]:
    worth = Worth(world_size)
    steps = FIRST_STEPS + 2 * LOOKED_AT
    return [*filter(None, (worth.add(step(k, computed_s, waited_s)) for k in range(steps)))]


def test_two_workers_that_wait_for_most_of_a_step_are_slower_than_one() -> None:
    assert said(2, 0.05, 0.15) == [
        "a step takes 200 ms, of which rank 0 waits 150 ms for sums: 2 workers do the work of 0.5, and one "
        "alone would be 2 times as fast"
    ]


@given(st.integers(1, 64), st.floats(1e-3, 1), st.floats(0, 100))
def test_it_is_said_once_where_the_step_grew_more_than_the_workers(
    world_size: int, computed_s: float, waited_s: float
) -> None:
    factor = (computed_s + waited_s) / computed_s / world_size / CLEARLY
    if abs(factor - 1) > 1e-6:
        assert len(said(world_size, computed_s, waited_s)) == (factor > 1 and world_size > 1)


def test_what_the_first_steps_wait_for_does_not_count() -> None:
    worth = Worth(4)
    first = [worth.add(step(k, 0.01, 9.0)) for k in range(FIRST_STEPS)]
    rest = [worth.add(step(k, 0.01, 0.01)) for k in range(LOOKED_AT)]
    assert not any(first + rest)
