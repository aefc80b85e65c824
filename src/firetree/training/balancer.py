"""Unequal machines, unequal shares: each rank's part of a batch follows its measured speed.

The mean is over the batch's samples, whoever has them, so gradients stay those of one process. How a batch
is cut is in `data.shares`. Letters in names: R ranks, K steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from firetree.data.order import step_size
from firetree.data.shares import Shares, cuts
from firetree.data.speeds import LOOK_STEPS, MOST_STEPS, better_shares, called, gain
from firetree.peers import broadcast_json, gather_json
from firetree.tasks import TaskLoader
from firetree.trace import StepTrace
from firetree.training.step_part import StepPart

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
        self._sample_s: deque[float] = deque(maxlen=MOST_STEPS)

    @property
    def shares(self) -> Shares:
        """Each rank's samples of a whole batch."""
        return tuple(np.diff(cuts(self._count, self._loader.shares)).tolist())

    @property
    def sharing(self) -> str:
        """What the user is told of them."""
        return called(self.shares)

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
        return f"{self.sharing}, {gain(saved)}"

    def state(self) -> dict[str, Tensor]:
        """The shares in use."""
        return {_STATE: torch.tensor(self.shares)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the shares of before, if they are of as many ranks."""
        kept = state.get(_STATE)
        if kept is not None and len(kept) == len(self._loader.shares):
            self._loader.shares = tuple(kept.tolist())
