"""Unequal machines, unequal shares: each rank's part of a batch follows its measured speed.

The mean is over the batch's samples, whoever has them, so gradients stay those of one process. How a batch
is cut is in `data.shares`. Letters in names: R ranks, K steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from firetree.data.order import step_size
from firetree.data.shares import Shares, apportion, cuts
from firetree.peers import broadcast_json, gather_json
from firetree.tasks import TaskLoader
from firetree.trace import StepTrace
from firetree.training.step_part import StepPart

LOOK_STEPS = 5
"""Steps between two looks at the speeds; a look costs two small exchanges."""

_MOST_STEPS = 15
"""Steps that count, the newest. After new shares, all are measured anew."""

_LEAST_GAIN, _LEAST_ERRORS = 0.05, 3.0
"""The part of the slowest rank's time that new shares must save, and the standard errors of a speed that this
must be. With less, shares would flutter."""

_STATE = "rank_samples"


class Balancer(StepPart):
    """Cuts batches by the ranks' speeds, and cuts them anew where these change.

    Args:
        loader: this rank's.
        examples: samples of an epoch, at least one a rank.
        batch_size: of all ranks together; likewise.
    """

    def __init__(self, loader: TaskLoader, examples: int, batch_size: int, rank: int):
        self._loader, self._rank = loader, rank
        self._examples, self._batch_size = examples, batch_size
        self._count = step_size(examples, batch_size, 0)
        self._sample_s: deque[float] = deque(maxlen=_MOST_STEPS)

    @property
    def shares(self) -> Shares:
        """Each rank's samples of a whole batch."""
        return tuple(np.diff(cuts(self._count, self._loader.shares)).tolist())

    @property
    def sharing(self) -> str:
        """What the user is told of them, as in `shares of the batch 43, 43, 21, 21`."""
        return f"shares of the batch {', '.join(map(str, self.shares))}"

    def look(self, step: StepTrace) -> str:
        """Call it on all ranks after each step: where other shares are faster, the next step has them.

        Returns:
            What has changed, for the user; empty where nothing has.
        """
        before = self.shares
        if step_size(self._examples, self._batch_size, step.step) == self._count:
            own_s = step.training_s - step.communication_s
            self._sample_s.append(own_s / before[self._rank])
        if (step.step + 1) % LOOK_STEPS or len(self._sample_s) < LOOK_STEPS:
            return ""
        # Other hosts' arithmetic may differ in the last digit: rank 0 decides.
        found = broadcast_json(better_shares(before, gather_json([*self._sample_s])))
        if found is None:
            return ""
        self._loader.shares, saved = tuple(found[0]), found[1]
        self._sample_s.clear()
        return f"{self.sharing}, by speed: the slowest should take {saved:.0%} less time"

    def state(self) -> dict[str, Tensor]:
        """The shares in use."""
        return {_STATE: torch.tensor(self.shares)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the shares of before, if they are of as many ranks."""
        kept = state.get(_STATE)
        if kept is not None and len(kept) == len(self._loader.shares):
            self._loader.shares = tuple(kept.tolist())


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
