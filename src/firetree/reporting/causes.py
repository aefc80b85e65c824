"""What each possible cause costs: how much shorter a step would be without it.

A round lasts as long as the work of its slowest rank between two sums, and what the network then takes. So a
cause is taken away from the work of the ranks that have it, and the rounds are added up again. What one rank
has and the others have not is that rank's fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median_low

import numpy as np
from numpy.typing import NDArray

from firetree.reporting.rounds import StepTable, Times, without
from firetree.reporting.thresholds import (
    AVOIDABLE_SHARE,
    GENERAL_SHARE,
    NOTICED,
    OUTLIER,
    SPECIFIC_SHARE,
    STARVED_SHARE,
)
from firetree.reporting.values import Cause

Ranks = tuple[int, ...]

WORK = ("data", "starved", "slow_host", "evaluation", "saving", "other")
"""What ranks do between sums."""
_AVOIDABLE = ("data", "evaluation", "saving", "other", "starved")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A cause and what it costs, as a part of a step; of all ranks where there are none.

    `figure` is what was measured of these ranks, and `usual` of the others, in seconds of a step or bytes a second.
    """

    kind: Cause
    share: float
    ranks: Ranks = ()
    figure: float | None = None
    usual: float | None = None
    layer: str = ""
    way: tuple[int, int] | None = None
    may_be_either: bool = False
    is_usual: bool = False
    """Whether it costs something, but no more than usual."""

    @property
    def counts(self) -> bool:
        """Whether it costs enough to be told."""
        least = AVOIDABLE_SHARE if self.kind in _AVOIDABLE else GENERAL_SHARE
        return self.share >= (SPECIFIC_SHARE if self.is_fault else least) and not self.is_usual

    @property
    def is_fault(self) -> bool:
        """Whether it is of one host, rank or link, and not of all."""
        return bool(self.ranks or self.way)


def suspects(rounds: StepTable) -> Iterator[Suspect]:
    """What ranks do between sums, each cause as one's fault or all ranks'."""
    step_s = rounds.mean_parts().step_s
    if step_s <= 0:
        return
    compute_s = rounds.work["forward_s"] + rounds.work["backward_s"] + rounds.work["optimizer_s"]
    starved_s = np.minimum(rounds.starved_s, compute_s)
    kinds: list[tuple[Cause, Times]] = [
        ("data", rounds.work["data_s"]),
        ("evaluation", rounds.work["evaluation_s"]),
        ("saving", rounds.work["saving_s"]),
        ("other", rounds.work["other_s"]),
    ]
    for kind, spent_s in kinds:
        yield _of_one_or_all(kind, spent_s, rounds, step_s)
    yield _starved(compute_s, starved_s, rounds, step_s)
    own_s = compute_s - _starved_more_s(compute_s, starved_s, rounds)
    yield _of_one("slow_host", own_s, rounds, step_s)
    yield _uneven(rounds, step_s)


def _of_one_or_all(kind: Cause, spent_s: Times, rounds: StepTable, step_s: float) -> Suspect:
    """The ranks with more of it than the others, if they make most of what it costs."""
    one = _of_one(kind, spent_s, rounds, step_s)
    saved_s = without(rounds, rounds.work_s - spent_s)
    everyone = Suspect(kind, saved_s / step_s, (), fmean(rounds.mean(spent_s)))
    return one if one.counts and 2 * one.share >= everyone.share else everyone


def _starved(compute_s: Times, starved_s: Times, rounds: StepTable, step_s: float) -> Suspect:
    """Ranks that lack a CPU for more of their computing than the others; or all, if they hardly have one."""
    one = _of_one("starved", _starved_more_s(compute_s, starved_s, rounds), rounds, step_s)
    means_s = rounds.mean(starved_s)
    share = without(rounds, rounds.work_s - starved_s) / step_s
    # What a thread waits for other than a CPU is no part of the time in which it wanted one.
    wanted_s = means_s + (
        rounds.mean(rounds.cpu_s) if rounds.cpu_s.any() else rounds.mean(compute_s)
    )
    lacked = means_s.sum() / max(wanted_s.sum(), 1e-9)
    is_usual = lacked < STARVED_SHARE and share < GENERAL_SHARE
    everyone = Suspect("starved", share, figure=fmean(means_s), is_usual=is_usual)
    if not one.counts or (everyone.counts and 2 * one.share < everyone.share):
        return everyone
    others = [rank for rank in range(len(means_s)) if rank not in one.ranks]
    figure = float(max(means_s[rank] for rank in one.ranks))
    return replace(one, figure=figure, usual=float(np.median(means_s[others])))


def _starved_more_s(compute_s: Times, starved_s: Times, rounds: StepTable) -> Times:
    """What a rank is starved beyond what the others are for as much work.

    Where all share CPUs, one that computes more is starved for longer too, and not for that reason.
    """
    computed_s, lacked_s = rounds.mean(compute_s), rounds.mean(starved_s)
    usual = min(0.99, median_low(lacked_s / np.maximum(computed_s, 1e-9)))
    more_s: Times = np.maximum(0.0, starved_s - (compute_s - starved_s) * usual / (1 - usual))
    return more_s


def _of_one(kind: Cause, spent_s: Times, rounds: StepTable, step_s: float) -> Suspect:
    """What it costs that some ranks have more of it than the others."""
    ranks = outliers(rounds.mean(spent_s))
    if not ranks:
        return Suspect(kind, 0.0)
    others = [rank for rank in range(spent_s.shape[1]) if rank not in ranks]
    usual_s = np.median(spent_s[:, others], axis=1)
    work_s = rounds.work_s.copy()
    for rank in ranks:
        work_s[:, rank] -= np.maximum(0.0, spent_s[:, rank] - usual_s)
    means = rounds.mean(spent_s)
    return Suspect(
        kind,
        without(rounds, work_s) / step_s,
        ranks,
        float(max(means[rank] for rank in ranks)),
        float(np.median(means[others])),
    )


def outliers(values: NDArray[np.float64] | Sequence[float]) -> Ranks:
    """Those that have much more than the lower half, and are noticed beside the worst."""
    usual = median_low(values)
    noticed = usual + NOTICED * (max(values) - usual)
    return tuple(
        k for k, value in enumerate(values) if value > OUTLIER * usual and value >= noticed
    )


def _uneven(rounds: StepTable, step_s: float) -> Suspect:
    """What it costs that ranks wait for each other, if no rank is to blame for it."""
    waits_s = rounds.parts["others_wait_s"]
    means_s = rounds.mean(rounds.work_s)
    steady_s = float(means_s.max() - np.median(means_s))
    return Suspect("uneven", max(0.0, fmean(rounds.mean(waits_s)) - steady_s) / step_s)
