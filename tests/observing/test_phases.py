"""From spans of the main thread to phases: what belongs to training, to evaluation, and to neither."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.observing.phases import Activity, Span, durations, phases
from firetree.trace import Phase, StepTrace

ACTIVITIES = [*get_args(get_args(Activity)[0]), "trial"]


def spans(*activities: Activity) -> list[Span]:
    return [Span(activity, float(at), float(at + 1)) for at, activity in enumerate(activities)]


def names(*activities: Activity) -> list[Phase]:
    """The phase of each second."""
    found = phases(spans(*activities))
    return [it.phase for it in found for _ in range(round(it.end_s - it.start_s))]


@pytest.mark.parametrize(
    ("activities", "expected"),
    [
        (
            ["data", "other", "forward", "other", "backward", "communication", "optimizer"],
            ["data", "other", "forward", "forward", "backward", "communication", "optimizer"],
        ),
        # A script with a generator of its own reads before its forward pass.
        (["other", "forward", "backward"], ["data", "forward", "backward"]),
        # Rank 0's buffers go to all ranks before the pass.
        (
            ["optimizer", "other", "communication", "forward", "backward", "communication"],
            ["optimizer", "data", "communication", "forward", "backward", "communication"],
        ),
        # One pass in evaluation mode that trains, and one that does not.
        (["data", "trial", "other", "backward"], ["data", "forward", "forward", "backward"]),
        (["data", "trial", "data", "forward"], ["evaluation", "evaluation", "data", "forward"]),
        # Evaluation between steps, with its loader's last reading, and the next training batch.
        (
            [
                "saving",
                "data",
                "evaluation",
                "other",
                "evaluation",
                "data",
                "other",
                "data",
                "forward",
            ],
            ["saving", *["evaluation"] * 5, "other", "data", "forward"],
        ),
        # Accumulation: the other things between two micro-batches belong to neither.
        (
            ["data", "forward", "backward", "other", "forward", "backward"],
            ["data", "forward", "backward", "other", "forward", "backward"],
        ),
        # An optimiser that computes the gradients itself.
        (
            ["data", "optimizer", "forward", "optimizer", "backward", "optimizer"],
            ["data", "optimizer", "forward", "forward", "backward", "optimizer"],
        ),
    ],
)
def test_what_the_main_thread_does_becomes(
    activities: list[Activity], expected: list[Phase]
) -> None:
    assert names(*activities) == expected


@given(st.lists(st.sampled_from(ACTIVITIES), min_size=1, max_size=40))
def test_phases_cover_the_step_once_and_their_durations_are_its_time(
    activities: list[Activity],
) -> None:
    found = phases(spans(*activities))
    assert found[0].start_s == 0.0
    assert found[-1].end_s == len(activities)
    for one, following in pairwise(found):
        assert one.end_s == following.start_s
        assert one.phase != following.phase
    step = StepTrace(step=0, start_s=0.0, samples=0, sent_bytes=0, buckets=(), **durations(found))
    assert step.step_s == pytest.approx(len(activities))
    assert 0 <= step.communication_s <= step.backward_s


@given(st.lists(st.sampled_from(ACTIVITIES), min_size=1, max_size=40))
def test_passes_that_train_are_never_called_evaluation(activities: list[Activity]) -> None:
    for activity, name in zip(activities, names(*activities), strict=True):
        if activity in ("forward", "backward", "communication", "saving"):
            assert name == activity
