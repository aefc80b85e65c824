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

_MOST_STEPS = 10
"""Steps that count, the newest. After new shares, all are measured anew."""

_CLEAR_GAIN, _LEAST_GAIN = 0.2, 0.05
"""The part of the slowest rank's time that new shares must save: until so many steps are measured, and then.
With less, shares would flutter."""

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

    def look(self, step: StepTrace) -> str:
        """Call it on all ranks after each step: where other shares are faster, the next step has them.

        Returns:
            What has changed, for the user; empty where nothing has.
        """
        before = self.shares
        if step_size(self._examples, self._batch_size, step.step) == self._count:
            own_s = step.training_s - step.communication_s
            self._sample_s.append(own_s / before[self._rank])
        measured = len(self._sample_s)
        if (step.step + 1) % LOOK_STEPS or measured < LOOK_STEPS:
            return ""
        speeds = relative_speeds(gather_json([*self._sample_s]))
        after = apportion(self._count, speeds)
        saved = 1 - longest(after, speeds) / longest(before, speeds)
        # Other hosts' arithmetic may differ in the last digit: rank 0 decides.
        after, saved = broadcast_json([after, saved])
        if saved < (_CLEAR_GAIN if measured < _MOST_STEPS else _LEAST_GAIN):
            return ""
        self._loader.shares = tuple(after)
        self._sample_s.clear()
        return f"shares of the batch {listed(after)}, by speed: the slowest should take {saved:.0%} less time"

    def state(self) -> dict[str, Tensor]:
        """The shares in use."""
        return {_STATE: torch.tensor(self.shares)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the shares of before, if they are of as many ranks."""
        kept = state.get(_STATE)
        if kept is not None and len(kept) == len(self._loader.shares):
            self._loader.shares = tuple(kept.tolist())


def relative_speeds(sample_s_RK: Sequence[Sequence[float]]) -> list[float]:
    """Each rank's part of all ranks' speed, the median over the steps, whose samples may differ in length.

    Args:
        sample_s_RK: what a sample took on each rank in each step, in seconds.
    """
    speed_RK = 1 / np.maximum(sample_s_RK, 1e-9)
    relative: list[float] = np.median(speed_RK / speed_RK.sum(0), axis=1).tolist()
    return relative


def longest(shares: Shares, speeds: Sequence[float]) -> float:
    """How long the slowest rank takes for its share."""
    return max(count / speed for count, speed in zip(shares, speeds, strict=True))


def listed(shares: Shares) -> str:
    """As in `43, 43, 21, 21`."""
    return ", ".join(map(str, shares))
