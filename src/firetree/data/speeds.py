"""Shares of a batch by the ranks' measured speeds. Letters in names: R ranks, K steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firetree.data.shares import Shares, apportion

LOOK_STEPS = 5
"""Steps between two looks at the speeds; a look costs two small exchanges."""

MOST_STEPS = 15
"""Steps that count, the newest. After new shares, all are measured anew."""

_LEAST_GAIN, _LEAST_ERRORS = 0.05, 3.0
"""The part of the slowest rank's time that new shares must save, and the standard errors of a speed that this
must be. With less, shares would flutter."""


def called(shares: Shares) -> str:
    """What the user is told of them, as in `shares of the batch 43, 43, 21, 21`."""
    return f"shares of the batch {', '.join(map(str, shares))}"


def gain(saved: float) -> str:
    """What the user is told of new shares that save this part of the slowest rank's time."""
    return f"by speed: the slowest should take {saved:.0%} less time"


def better_shares(
    shares: Shares, sample_s_RK: Sequence[Sequence[float]]
) -> tuple[Shares, float] | None:
    """Shares by speed, and the part of the slowest rank's time that they save; None where that is too little.

    Args:
        shares: those in use, of a whole batch.
        sample_s_RK: what a sample took on each rank in each step, in seconds.
    """
    speeds, error = relative_speeds(sample_s_RK)
    better = apportion(sum(shares), speeds)
    saved = 1 - _longest(better, speeds) / _longest(shares, speeds)
    return (better, saved) if saved >= max(_LEAST_GAIN, _LEAST_ERRORS * error) else None


def relative_speeds(sample_s_RK: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """Each rank's part of all ranks' speed, the median over the steps, whose samples may differ in length.

    Args:
        sample_s_RK: what a sample took on each rank in each step, in seconds.

    Returns:
        The speeds, and the standard error of the one that scatters most, as a part of it.
    """
    speed_RK = 1 / np.maximum(sample_s_RK, 1e-9)
    relative_RK = speed_RK / speed_RK.sum(0)
    speed_R = np.median(relative_RK, axis=1)
    scatter_R = np.median(np.abs(relative_RK / speed_R[:, None] - 1), axis=1)
    # Of normal numbers the deviation is 1.48 times that, and a median's error 1.25 times the mean's.
    error = 1.48 * 1.25 * scatter_R.max() / relative_RK.shape[1] ** 0.5
    return speed_R.tolist(), float(error)


def _longest(shares: Shares, speeds: Sequence[float]) -> float:
    """How long the slowest rank takes for its share."""
    return max(count / speed for count, speed in zip(shares, speeds, strict=True))
