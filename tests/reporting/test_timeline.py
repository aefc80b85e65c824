"""A step laid out in time: no phases overlap, and lanes hold what does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import step

from firetree.reporting.timeline import in_lanes, phases_of
from firetree.trace import Phase, PhaseSpan, StepTrace

SPANS = st.lists(
    st.builds(
        lambda start, length: PhaseSpan("other", start / 8, (start + length) / 8),
        st.integers(0, 80),
        st.integers(1, 30),
    ),
    max_size=20,
)


def with_phases(*phases: PhaseSpan) -> StepTrace:
    return StepTrace(0, 0.0, 0.0, 0.0, 0.0, 0.0, 1, 0, (), phases=phases)


def test_phases_without_moments_are_in_their_usual_order_and_add_up() -> None:
    told = phases_of(step(2))
    assert [it.phase for it in told] == ["data", "forward", "backward", "communication"]
    assert [it.start_s for it in told] == pytest.approx([20.0, 20.1, 20.35, 21.1])
    assert told[-1].end_s == pytest.approx(21.6)


def test_the_moments_of_phases_win_over_their_order() -> None:
    found: list[tuple[Phase, float, float]] = [("data", 0.0, 1.0), ("evaluation", 1.0, 3.0)]
    told = phases_of(with_phases(*(PhaseSpan(*it) for it in reversed(found))))
    assert [(it.phase, it.start_s, it.end_s) for it in told] == found


@given(SPANS)
def test_phases_never_overlap_whatever_was_recorded(spans: list[PhaseSpan]) -> None:
    told = phases_of(with_phases(*spans))
    for before, after in pairwise(told):
        assert before.end_s <= after.start_s < after.end_s
    if spans:
        assert told[0].start_s == min(it.start_s for it in spans)
        assert told[-1].end_s == max(it.end_s for it in spans)


@given(SPANS)
def test_lanes_hold_each_span_once_and_are_as_few_as_overlap(spans: list[PhaseSpan]) -> None:
    lanes = in_lanes(spans)
    assert sorted(map(repr, (it for lane in lanes for it in lane))) == sorted(map(repr, spans))
    for lane in lanes:
        assert all(a.end_s <= b.start_s for a, b in pairwise(lane))
    at_once = [sum(it.start_s <= one.start_s < it.end_s for it in spans) for one in spans]
    assert len(lanes) == max(at_once, default=0)
