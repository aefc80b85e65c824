"""A rank's steps laid out in time: its phases one after another, and what overlaps on lanes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from firetree.trace import Phase, PhaseSpan, StepTrace


class _Span(Protocol):
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


Span = TypeVar("Span", bound=_Span)


def phases_of(step: StepTrace) -> tuple[PhaseSpan, ...]:
    """The phases of a step by time, none of which overlap.

    Where the trace has only their seconds, as between detailed steps, they are in their usual order.
    """
    return _apart(step.phases) if step.phases else _in_usual_order(step)


def _apart(phases: Sequence[PhaseSpan]) -> tuple[PhaseSpan, ...]:
    """By time, each from the end of the one before at the earliest."""
    told = sorted(phases, key=lambda it: it.start_s)
    ends_s = accumulate((it.end_s for it in told), max, initial=float("-inf"))
    spans = (
        PhaseSpan(it.phase, max(it.start_s, before_s), it.end_s)
        for it, before_s in zip(told, ends_s, strict=False)
    )
    return tuple(it for it in spans if it.end_s > it.start_s)


def _in_usual_order(step: StepTrace) -> tuple[PhaseSpan, ...]:
    seconds: dict[Phase, float] = {
        "data": step.data_wait_s,
        "forward": step.forward_s,
        "backward": step.backward_s - step.communication_s,
        "communication": step.communication_s,
        "optimizer": step.optimizer_s,
        "evaluation": step.evaluation_s,
        "saving": step.saving_s,
        "other": step.other_s,
    }
    edges_s = list(accumulate(seconds.values(), initial=step.start_s))
    spans = map(PhaseSpan, seconds, edges_s, edges_s[1:])
    return tuple(it for it in spans if it.end_s > it.start_s)


def in_lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """The spans on lanes, by time; those of a lane do not overlap."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda it: (it.start_s, it.end_s)):
        free = next((lane for lane in lanes if lane[-1].end_s <= span.start_s), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes
