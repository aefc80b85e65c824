"""What the course of a run's evaluations tells of its learning. Pure functions; `learning` has the words.

The training loss is a mean over an epoch, with dropout, augmentation and label smoothing, and so cannot be compared
with the test loss: each curve is compared with itself alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from firetree.confusion import Confusion
from firetree.metrics import Metrics, best_of
from firetree.reporting.thresholds import (
    ABOVE_GUESSING,
    ABOVE_NOISE,
    BELOW_GUESSING,
    BY_CHANCE,
    LAST_PART,
    LEARNED_ALL,
    LEAST_EVALUATIONS,
    LOSS_JUMP,
    OVER_FITTED,
    RISEN_EVALUATIONS,
    SINCE,
    STILL_FALLING,
)

Kind = Literal[
    "steady",
    "still_learning",
    "over_fitted",
    "not_finite",
    "loss_rose",
    "above_guessing",
    "nothing",
]


@dataclass(frozen=True, slots=True)
class Course:
    """How a run learned: `at` is the index of the evaluation since which it is so.

    `before` and `after` are the losses that tell it; of `nothing`, `before` is the share of the most frequent class.
    """

    kind: Kind
    at: int
    before: float = math.nan
    after: float = math.nan


def course_of(
    evaluated: Sequence[Metrics], confusion: Confusion | None = None, is_over: bool = True
) -> Course | None:
    """What the evaluations of a run tell, in their order; None where they are too few.

    Args:
        evaluated: of a loss that falls as the network learns, and is above 0.
        confusion: of the last one, where there are classes.
        is_over: whether the run made all its steps.
    """
    for at, one in enumerate(evaluated):
        if not math.isfinite(one.train_loss) or not math.isfinite(one.test_loss):
            return Course("not_finite", at)
    if len(evaluated) < LEAST_EVALUATIONS:
        return None
    found = None
    if confusion and _guesses(evaluated, confusion):
        share = max(confusion.total) / sum(confusion.total)
        found = _above_guessing(evaluated, confusion) or Course("nothing", 0, share)
    found = found or _jump(evaluated) or _over_fitted(evaluated)
    if found is None and is_over:
        found = _still_learning(evaluated)
    return found or Course("steady", len(evaluated) - 1)


def _guesses(evaluated: Sequence[Metrics], confusion: Confusion) -> bool:
    """Whether neither test images nor the training loss show more than guessing by the classes' shares does."""
    totals = [it for it in confusion.total if it]
    images, classes = sum(totals), len(totals)
    if classes < 2:
        return False
    guessing = -sum(it / images * math.log(it / images) for it in totals)
    if evaluated[-1].train_loss < BELOW_GUESSING * guessing:
        return False
    accuracy = max(it.accuracy or 0.0 for it in evaluated)
    return accuracy <= _by_chance(max(totals) / images, images) and (
        confusion.macro_recall <= _by_chance(1 / classes, images)
    )


def _by_chance(share: float, count: int) -> float:
    return share + BY_CHANCE * math.sqrt(share * (1 - share) / count)


def _above_guessing(evaluated: Sequence[Metrics], confusion: Confusion) -> Course | None:
    """A network that has come to guess, after losses above those of guessing."""
    guessing = math.log(len(confusion.total))
    if not 1 / ABOVE_GUESSING < evaluated[-1].train_loss / guessing < ABOVE_GUESSING:
        return None
    for at, one in enumerate(evaluated):
        if one.train_loss > ABOVE_GUESSING * guessing:
            return Course("above_guessing", at, guessing, one.train_loss)
    return None


def _jump(evaluated: Sequence[Metrics]) -> Course | None:
    """The first evaluation whose training loss is far above the least before it."""
    losses = [it.train_loss for it in evaluated]
    for at in range(1, len(losses)):
        least = min(losses[:at])
        if losses[at] - least > LOSS_JUMP * losses[0]:
            return Course("loss_rose", at, least, losses[at])
    return None


def _over_fitted(evaluated: Sequence[Metrics]) -> Course | None:
    """The evaluation since which the test loss has risen, while the training loss fell."""
    test, train = [it.test_loss for it in evaluated], [it.train_loss for it in evaluated]
    least = min(test)
    after = test.index(least) + 1
    last = test[-RISEN_EVALUATIONS:]
    if len(test) - after < RISEN_EVALUATIONS or min(last) < OVER_FITTED * least:
        return None
    if min(last) - least < ABOVE_NOISE * _strays(test[after - 1 :]):
        return None
    if fmean(train[-RISEN_EVALUATIONS:]) >= train[after - 1]:
        return None
    near = max(k for k, it in enumerate(test) if it <= SINCE * least)
    return Course("over_fitted", near + 1, least, test[-1])


def _strays(values: Sequence[float]) -> float:
    """How far a value typically lies from the line through its neighbours, twice."""
    return median(
        abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)
    )


def _still_learning(evaluated: Sequence[Metrics]) -> Course | None:
    """The last part of a run whose test loss fell as much in it as it does while a network learns."""
    part = len(evaluated) // LAST_PART
    first = len(evaluated) - part
    if not part or (evaluated[-1].accuracy or 0.0) >= LEARNED_ALL:
        return None
    before, last = (
        fmean(it.test_loss for it in evaluated[start : start + part])
        for start in (first - part, first)
    )
    if best_of(evaluated) not in evaluated[first:] or last > (1 - STILL_FALLING) * before:
        return None
    return Course("still_learning", first, before, last)
