"""A long run has few lines, and their means are those of all steps."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.observing.thinning import MOST_LINES, Backlog, is_kept
from firetree.trace import StepTrace, is_detailed

MEANS = ("data_wait_s", "backward_s", "communication_s", "evaluation_s", "cpu_s", "starved_s")


def step(number: int, data_wait_s: float = 0.0, **fields: object) -> StepTrace:
    plain = {
        "forward_s": 0.1,
        "backward_s": 0.2,
        "optimizer_s": 0.1,
        "samples": 8,
        "sent_bytes": 80,
    }
    return StepTrace(
        step=number, start_s=float(number), data_wait_s=data_wait_s, buckets=(), **(plain | fields)
    )


def lines(steps: Iterable[StepTrace], as_they_come: bool = True) -> list[StepTrace]:
    """What is told of these steps, where they are taken as they come or all in the end."""
    backlog, told = Backlog(), []
    for one in steps:
        backlog.add(one)
        while as_they_come and (line := backlog.next()):
            told.append(line)
    backlog.end()
    while line := backlog.next():
        told.append(line)
    return told


seconds = st.floats(0, 1e3)
runs = st.builds(
    lambda first, each: [
        step(
            first + k,
            wait_s,
            backward_s=wait_s + sync_s,
            communication_s=sync_s,
            evaluation_s=wait_s / 3,
            cpu_s=sync_s * 7,
            starved_s=sync_s / 7,
            samples=samples,
            sent_bytes=1000 * samples,
            algorithm=algorithm,
        )
        for k, (wait_s, sync_s, samples, algorithm) in enumerate(each)
    ],
    st.sampled_from([0, 4000, 4096, 8000, 20_000]),
    st.lists(
        st.tuples(seconds, seconds, st.integers(0, 512), st.sampled_from(["ring"] * 20 + ["gloo"])),
        max_size=3000,
    ),
)


@given(runs, st.booleans())
def test_each_line_has_the_means_of_the_steps_that_it_stands_for(
    steps: list[StepTrace], as_they_come: bool
) -> None:
    told, rest = lines(steps, as_they_come), iter(steps)
    for line in told:
        stood_for = [next(rest) for _ in range(line.count)]
        assert (line.step, line.start_s) == (stood_for[-1].step, stood_for[-1].start_s)
        for name in MEANS:
            mean = fsum(getattr(it, name) for it in stood_for) / line.count
            assert getattr(line, name) == pytest.approx(mean, rel=1e-12, abs=1e-12)
        mean_step_s = fsum(it.step_s for it in stood_for) / line.count
        assert line.step_s == pytest.approx(mean_step_s, rel=1e-9)
        for name in ("samples", "sent_bytes"):
            total = sum(getattr(it, name) for it in stood_for)
            assert abs(getattr(line, name) * line.count - total) <= line.count / 2
    assert next(rest, None) is None


@given(runs)
def test_no_line_mixes_two_algorithms_where_rank_0_keeps_up(steps: list[StepTrace]) -> None:
    rest = iter(steps)
    for line in lines(steps):
        assert {next(rest).algorithm for _ in range(line.count)} == {line.algorithm}


@given(runs)
def test_what_waits_is_bounded(steps: list[StepTrace]) -> None:
    assert len(lines(steps, as_they_come=False)) <= MOST_LINES + 1


@pytest.mark.parametrize(
    ("steps", "count"), [(1, 1), (4096, 4096), (8192, 6144), (1 << 20, 4096 + 8 * 2048)]
)
def test_a_long_run_has_few_lines(steps: int, count: int) -> None:
    assert sum(map(is_kept, range(steps))) == count


@given(st.integers(0, 1 << 40))
def test_detailed_steps_are_kept(number: int) -> None:
    detailed = number & ~((1 << max(0, number.bit_length() - 4)) - 1)
    assert is_detailed(detailed)
    assert is_kept(detailed)


def test_a_kept_line_is_the_step_itself_where_it_stands_for_no_other() -> None:
    one = step(5, 0.1 + 0.2, samples=3)
    assert lines([one]) == [one]


def test_details_outlive_a_backlog() -> None:
    told = lines((step(number) for number in range(4000)), as_they_come=False)
    detailed = [number for number in range(4000) if is_detailed(number)]
    assert [it.step for it in told if is_detailed(it.step)] == detailed
