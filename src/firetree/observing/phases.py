"""From what a script's main thread did, span by span, to the phases of its step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, cast

from firetree.trace import Phase, PhaseSpan

Activity = Phase | Literal["trial"]
"""What a mark knows. `trial` is a forward pass in evaluation mode, with gradients: if a backward pass
follows, it trains, and else it evaluates."""

_IDLE = ("data", "other")


@dataclass(frozen=True, slots=True)
class Span:
    """An activity of the main thread; the next one starts where it ends."""

    activity: Activity
    start_s: float
    end_s: float


def phases(spans: Sequence[Span]) -> tuple[PhaseSpan, ...]:
    """The phases of a step.

    What lies between a forward pass and its backward pass is the loss, which counts as forward. What lies
    between passes that evaluate is evaluation, and so is what their loader reads. Where no loader of
    torch's reads, what comes before a forward pass is called data.
    """
    names = _evaluations(_passes([span.activity for span in spans]))
    return tuple(_merged(names if "data" in names else _read_before_passes(names), spans))


def durations(spans: Sequence[PhaseSpan]) -> dict[str, Any]:
    """The seconds of each phase, as fields of a `StepTrace`; `backward_s` includes `communication_s`."""
    named = ("data_wait", "forward", "backward", "communication", "optimizer", "evaluation")
    found = dict.fromkeys((f"{name}_s" for name in (*named, "saving", "other")), 0.0)
    for span in spans:
        name = "data_wait_s" if span.phase == "data" else f"{span.phase}_s"
        found[name] += span.end_s - span.start_s
    found["backward_s"] += found["communication_s"]
    return found


def _read_before_passes(names: Sequence[Phase]) -> list[Phase]:
    """With what comes before a forward pass, and before rank 0's buffers for it, as data."""
    found: list[Phase] = []
    following: Phase = "other"
    for name in reversed(names):
        found.append("data" if (name, following) == ("other", "forward") else name)
        if name != "communication":
            following = name
    return found[::-1]


def _passes(activities: Sequence[Activity]) -> list[Phase]:
    """The activities, with the loss as a part of forward passes, and each trial told as what it is."""
    found: list[Phase] = []
    following: Activity = "other"
    for activity in reversed(activities):
        if activity == "trial":
            name: Phase = "forward" if following in ("backward", "forward") else "evaluation"
        elif (
            activity in ("other", "optimizer")  # an optimiser may compute the gradients itself
            and following in ("backward", "forward")
            and _computed(activities, len(found))
        ):
            name = "forward"
        else:
            name = activity
        found.append(name)
        following = following if name == "other" else name
    return found[::-1]


def _computed(activities: Sequence[Activity], behind: int) -> bool:
    """Whether a forward pass is just before the activity that has so many behind it."""
    index = len(activities) - behind - 1
    return index > 0 and activities[index - 1] in ("forward", "trial")


def _evaluations(names: Sequence[Phase]) -> list[Phase]:
    """With what belongs to each stretch of evaluation: between passes, and what its loader reads."""
    found: list[Phase] = []
    for evaluates, group in groupby(names, key=lambda name: name in (*_IDLE, "evaluation")):
        stretch = [*group]
        found += _evaluation(stretch) if evaluates and "evaluation" in stretch else stretch
    return found


def _evaluation(stretch: Sequence[Phase]) -> list[Phase]:
    """A stretch of passes that evaluate, and of reading and other things around them."""
    first = stretch.index("evaluation")
    last = len(stretch) - 1 - stretch[::-1].index("evaluation")
    begin = stretch.index("data", 0, first) if "data" in stretch[:first] else first
    tail = stretch[last + 1 :]
    # The loader that evaluates reads once more, to its end; the last to read is the one that trains.
    reads = [i for i, name in enumerate(tail) if name == "data"]
    over = reads[-2] + 1 if len(reads) > 1 else 0
    middle = cast(list[Phase], ["evaluation"] * (last + 1 - begin + over))
    return [*stretch[:begin], *middle, *tail[over:]]


def _merged(names: Sequence[Phase], spans: Sequence[Span]) -> Iterator[PhaseSpan]:
    for name, group in groupby(zip(names, spans, strict=True), key=lambda pair: pair[0]):
        parts = [span for _, span in group]
        yield PhaseSpan(name, parts[0].start_s, parts[-1].end_s)
