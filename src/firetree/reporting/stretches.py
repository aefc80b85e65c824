"""A run cut where its algorithm, plan or typical step time changes; starts and gaps are kept apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from firetree.reporting.changes import changes
from firetree.reporting.rounds import StepTable, Times
from firetree.reporting.thresholds import (
    CHANGE,
    LONG_STRETCH,
    SHORTEST_STRETCH,
    START_FACTOR,
    START_STEPS,
)
from firetree.reporting.values import Stretch
from firetree.trace import Event, EventKind

_CUTTING: tuple[EventKind, ...] = ("started", "planned", "shares")
"""Events after which a run is another one, however long its steps take."""


@dataclass(frozen=True, slots=True)
class Segment:
    """StepTable from index `first` to before `end`, and why they begin there."""

    first: int
    end: int
    began: str = ""
    is_start: bool = False


def typical_s(rounds: StepTable) -> Times:
    """From one sum to the next, but for evaluation and saving, which come now and then; K."""
    rare_s = rounds.work["evaluation_s"] + rounds.work["saving_s"]
    found: Times = (rounds.work_s - rare_s).max(axis=1) + network_s(rounds)
    return found


def network_s(rounds: StepTable) -> Times:
    """What the network takes of a round; K."""
    found: Times = rounds.parts["network_wait_s"].mean(axis=1)
    return found


def segments_of(rounds: StepTable, events: Sequence[Event]) -> list[Segment]:
    """The stretches of a run, as indices of its rounds."""
    times_s = typical_s(rounds)
    start = _start(times_s)
    hard = dict(_hard_cuts(rounds, events))
    edges = sorted({start, *(cut for cut in hard if cut > start), len(times_s)})
    found = [Segment(0, start, "", True)] if start else []
    for first, end in pairwise(edges):
        cuts = [first + cut for cut in changes(times_s[first:end])]
        for a, b in pairwise([first, *cuts, end]):
            found.append(Segment(a, b, hard.get(a, "")))
    return _named(found, times_s, rounds, events)


def _start(times_s: Times) -> int:
    """How many steps are a start: none where the run is short, or they take no longer than others."""
    if len(times_s) < START_STEPS + SHORTEST_STRETCH:
        return 0
    usual_s = float(np.median(times_s[START_STEPS : START_STEPS + LONG_STRETCH]))
    slow = [k for k in range(START_STEPS) if times_s[k] > START_FACTOR * usual_s]
    return max(slow) + 1 if slow else 0


def _hard_cuts(rounds: StepTable, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """Where another algorithm begins, or an event makes the run another one; the reason why."""
    steps = [one[0].step for one in rounds.steps]
    for event in events:
        cut = int(np.searchsorted(steps, event.step))
        if event.kind in _CUTTING and 0 < cut < len(steps):
            yield cut, "resumed" if event.kind == "started" else event.text
    for k, (before, after) in enumerate(pairwise(rounds.steps), 1):
        if before[0].algorithm != after[0].algorithm and before[0].algorithm:
            yield k, f"planned anew: {before[0].algorithm} → {after[0].algorithm}"


def _named(
    segments: list[Segment], times_s: Times, rounds: StepTable, events: Sequence[Event]
) -> list[Segment]:
    """With the reason for each that began as its steps took another time."""
    found = segments[:1]
    for before, segment in pairwise(segments):
        began = segment.began
        if not began and not before.is_start:
            factor = float(
                np.median(times_s[segment.first : segment.end])
                / np.median(times_s[before.first : before.end])
            )
            began = _changed(factor, rounds, before, segment)
        found.append(Segment(segment.first, segment.end, began, segment.is_start))
    return found


def _changed(factor: float, rounds: StepTable, before: Segment, after: Segment) -> str:
    """`steps take 3.1 times as long: waiting for the network`."""
    earlier = rounds.between(before.first, before.end).mean_parts()
    later = rounds.between(after.first, after.end).mean_parts()
    differences = {
        words: getattr(later, name) - getattr(earlier, name) for name, words in _PART_WORDS.items()
    }
    part = max(differences, key=lambda words: differences[words] * (1 if factor > 1 else -1))
    if factor > 1:
        return f"steps take {factor:.2g} times as long: {part}"
    return f"steps are {1 / factor:.2g} times as fast: {part}"


_PART_WORDS = {
    "data_s": "reading data",
    "forward_s": "forward pass",
    "backward_s": "backward pass",
    "others_wait_s": "waiting for others",
    "network_wait_s": "waiting for the network",
    "optimizer_s": "optimizer",
    "evaluation_s": "evaluation",
    "saving_s": "saving",
    "other_s": "the script's own work",
}


def stretch(rounds: StepTable, segment: Segment, algorithm: str, kept: StepTable) -> Stretch:
    """A stretch in numbers; `kept` are its rounds but for those in which a rank stood still."""
    steps = rounds.steps[segment.first : segment.end]
    times_s = kept.step_s.max(axis=1)
    median_s, p95_s = (quantile(times_s, kept.weights, part) for part in (0.5, 0.95))
    return Stretch(
        first_step=steps[0][0].step - steps[0][0].count + 1,
        last_step=steps[-1][0].step,
        steps=sum(one[0].count for one in steps),
        algorithm=steps[-1][0].algorithm or algorithm,
        median_s=median_s,
        p95_s=p95_s,
        noise=_noise(times_s, kept.weights, median_s),
        parts=kept.mean_parts(),
        began=segment.began,
        is_start=segment.is_start,
    )


def quantile(values: Times, weights: Times, part: float) -> float:
    """The value below which so large a part of the weights lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(part * weights.sum(), below, values[order]))


def _noise(values: Times, weights: Times, median: float) -> float:
    """Half the 95 % interval of the median, as a part of it; by the binomial distribution of ranks."""
    count = len(values)
    half = 0.98 / count**0.5
    low, high = (
        quantile(values, weights, part) for part in (max(0.0, 0.5 - half), min(1.0, 0.5 + half))
    )
    return (high - low) / 2 / median if median else 0.0


def judged(stretches: Sequence[Stretch]) -> int:
    """The index of the last long stretch, or of the longest where none is long."""
    long = [k for k, it in enumerate(stretches) if it.steps >= LONG_STRETCH and not it.is_start]
    if long:
        return long[-1]
    return max(range(len(stretches)), key=lambda k: (not stretches[k].is_start, stretches[k].steps))


def was_faster(before: Stretch, after: Stretch) -> bool:
    """Whether a stretch is clearly slower than the one before."""
    return after.median_s >= CHANGE * before.median_s
