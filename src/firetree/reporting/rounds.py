"""The steps of all ranks side by side, as arrays, and what each rank waited for in each.

After its last gradient a rank waits for its buckets: for others while one of them still computes, for the
network from then on. A rank that came late only because its own last sum ended late waits for the network
too, and so do those that wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from firetree.reporting.values import StepParts
from firetree.trace import RankTrace, StepTrace

Times = NDArray[np.float64]
"""Seconds, of round by rank unless said otherwise."""

_BETWEEN = ("evaluation_s", "saving_s", "other_s")
"""Parts that come between two steps' sums: in our own trainer at a step's end, in scripts at its beginning."""

AFTER_SUMS = ("optimizer_s", *_BETWEEN)
"""Parts of a step that may come after its sums, and then delay the next step's."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """The steps that every rank has recorded, each a round: K of them on R ranks.

    Attributes:
        steps: K × R.
        weights: how many steps each round stands for; K.
        parts: each part of a step by its name in `StepParts`; K × R.
        work: what each rank did from its last sum to this one's, by part; K × R. `late_s` is how much later
            than the earliest rank it began.
        last: the rank that computed its gradients last; K.
    """

    steps: tuple[tuple[StepTrace, ...], ...]
    weights: Times
    parts: dict[str, Times]
    work: dict[str, Times]
    cpu_s: Times
    starved_s: Times
    last: NDArray[np.intp]

    @property
    def count(self) -> int:
        """How many steps they stand for."""
        return int(self.weights.sum())

    @property
    def step_s(self) -> Times:
        """The time of a step; K × R."""
        return _sum(self.parts)

    @property
    def work_s(self) -> Times:
        """What each rank did from its last sum to this one; K × R."""
        return _sum(self.work)

    def mean(self, values: Times) -> Times:
        """The mean over rounds; R."""
        means: Times = np.average(values, axis=0, weights=self.weights)
        return means

    def mean_parts(self, rank: int | None = None) -> StepParts:
        """Of one rank, or of all."""
        means = {name: self.mean(values) for name, values in self.parts.items()}
        chosen = slice(None) if rank is None else slice(rank, rank + 1)
        return StepParts(**{name: float(mean[chosen].mean()) for name, mean in means.items()})

    def between(self, first: int, end: int) -> StepTable:
        """The rounds from index `first` to before `end`."""
        chosen = slice(first, end)
        return StepTable(
            self.steps[chosen],
            self.weights[chosen],
            {name: values[chosen] for name, values in self.parts.items()},
            {name: values[chosen] for name, values in self.work.items()},
            self.cpu_s[chosen],
            self.starved_s[chosen],
            self.last[chosen],
        )


def _sum(parts: Mapping[str, Times]) -> Times:
    total: Times = np.sum([*parts.values()], axis=0)
    return total


def rounds_of(ranks: Sequence[RankTrace]) -> StepTable | None:
    """The rounds of a trace; None where there is no step of all ranks."""
    by_rank = [{step.step: step for step in trace.steps} for trace in ranks]
    shared = sorted(set.intersection(*(set(steps) for steps in by_rank)))
    if not shared:
        return None
    steps = tuple(tuple(steps[number] for steps in by_rank) for number in shared)
    parts = {name: _each(steps, name) for name in _SAME}
    parts["data_s"] = _each(steps, "data_wait_s")
    wait_s = _each(steps, "communication_s")
    parts["backward_s"] = np.maximum(0.0, _each(steps, "backward_s") - wait_s)
    work = _work(steps, parts)
    late_s, last = _lateness(steps, _sum(work))
    others_s = np.minimum(late_s, wait_s)
    parts["others_wait_s"], parts["network_wait_s"] = others_s, wait_s - others_s
    return StepTable(
        steps,
        np.array([one[0].count for one in steps], float),
        {field.name: parts[field.name] for field in fields(StepParts)},
        work,
        _each(steps, "cpu_s"),
        _each(steps, "starved_s"),
        last,
    )


_SAME = ("forward_s", *AFTER_SUMS)
"""Parts that a `StepTrace` has by the same name."""


def _each(steps: Sequence[Sequence[StepTrace]], name: str) -> Times:
    return np.array([[getattr(step, name) for step in one] for one in steps], float)


def follows(before: Sequence[StepTrace], after: Sequence[StepTrace]) -> bool:
    """Whether one round is right after the other, and each is of a single step."""
    return (before[0].step + 1, before[0].count, after[0].count) == (after[0].step, 1, 1)


def _work(steps: Sequence[Sequence[StepTrace]], parts: dict[str, Times]) -> dict[str, Times]:
    """What came between two sums: the end of one step, and the beginning of the next."""
    work = {name: parts[name].copy() for name in ("data_s", "forward_s", "backward_s", *AFTER_SUMS)}
    shares = dict.fromkeys(_BETWEEN, _before_sums(steps, parts))
    shares["optimizer_s"] = np.zeros_like(parts["optimizer_s"])
    for k, (before, after) in enumerate(pairwise(steps), 1):
        if follows(before, after):
            for name, early in shares.items():
                late_s = (1 - early[k - 1]) * parts[name][k - 1]
                work[name][k] = early[k] * parts[name][k] + late_s
    return work


def _before_sums(steps: Sequence[Sequence[StepTrace]], parts: dict[str, Times]) -> Times:
    """The share of what is between two steps' sums that a step did before its own; K × R."""
    between_s = np.sum([parts[name] for name in _BETWEEN], axis=0)
    known_s = parts["data_s"] + parts["forward_s"] + parts["backward_s"]
    ready_s = np.array([[_computed_s(step) for step in one] for one in steps])
    share: Times = np.clip((ready_s - known_s) / np.maximum(between_s, 1e-9), 0.0, 1.0)
    return share


def _computed_s(step: StepTrace) -> float:
    """Seconds from a step's start to its last gradient, without waits; 0 where nothing was summed."""
    if not step.passes:
        return 0.0
    *earlier, last = step.passes
    return last.ready_s - step.start_s - sum(it.end_s - it.ready_s for it in earlier)


def _lateness(
    steps: Sequence[Sequence[StepTrace]], work_s: Times
) -> tuple[Times, NDArray[np.intp]]:
    """How long each rank waited for the last one to compute its gradients, and which that was."""
    late_s, last = np.zeros_like(work_s), np.zeros(len(steps), np.intp)
    ended_s: Times | None = None
    for k, one in enumerate(steps):
        met = [*_meetings(one)]
        if k == 0 or not follows(steps[k - 1], one):
            ended_s = None
        for ready_s, end_s in met:
            late_s[k] += _own_lateness(ready_s, ended_s)
            ended_s = end_s
        last[k] = met[-1][0].argmax() if met else work_s[k].argmax()
        if not met or one[0].count > 1:  # of several steps, the last one's meetings may be unlike
            late_s[k] = np.maximum(late_s[k], work_s[k].max() - work_s[k])
    return late_s, last


def _meetings(one: Sequence[StepTrace]) -> Iterator[tuple[Times, Times]]:
    """For each sum that all ranks waited for, when each came and when each had it."""
    for passes in zip(*(step.passes for step in one), strict=False):
        yield np.array([it.ready_s for it in passes]), np.array([it.end_s for it in passes])


def _own_lateness(ready_s: Times, ended_s: Times | None) -> Times:
    """How long each waits for the last, without what the last lost to an earlier sum that ended later for it."""
    last = ready_s.argmax()
    late_s: Times = ready_s[last] - ready_s
    if ended_s is not None:
        lost_s = np.maximum(0.0, ended_s[last] - ended_s)
        late_s = np.maximum(0.0, late_s - lost_s)
    return late_s


def without(rounds: StepTable, work_s: Times) -> float:
    """Seconds that a mean step would be shorter if ranks had this work between sums instead of theirs.

    A round lasts as long as the work of its slowest rank, and what the network takes.
    """
    saved_s = rounds.work_s.max(axis=1) - work_s.max(axis=1)
    return float(np.average(saved_s, weights=rounds.weights))


def only(rounds: StepTable, keep: NDArray[np.bool_]) -> StepTable:
    """The rounds of which the mask says so."""
    index = np.flatnonzero(keep)
    return replace(
        rounds,
        steps=tuple(rounds.steps[k] for k in index),
        weights=rounds.weights[index],
        parts={name: values[index] for name, values in rounds.parts.items()},
        work={name: values[index] for name, values in rounds.work.items()},
        cpu_s=rounds.cpu_s[index],
        starved_s=rounds.starved_s[index],
        last=rounds.last[index],
    )
