"""Parts of a training step, and the part that every run has: how the ranks meet.

`step.train_step` calls each part at fixed moments. A part keeps its own state and gives it to checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from firetree.sync import Synchroniser
from firetree.tasks import TaskBatch
from firetree.training.finite import not_finite


class StepPart:
    """What a feature does in a step. The methods that it does not override do nothing.

    Steps are counted from 0. Where the ranks' tensors differ, `own` gives this rank's.
    """

    def before(self, step: int) -> None:
        """Before the batch is loaded."""

    def after_gradients(self, step: int, batch: TaskBatch, loss_sum: float, finite: bool) -> None:
        """Between backward pass and optimiser, which is left out unless all gradients are `finite`."""

    def after_step(self, step: int, looked_at: bool) -> None:
        """After the optimiser; `looked_at` where the weights are evaluated or kept now."""

    def forget_step(self) -> None:
        """After a step that raised `NotFiniteError`, on all ranks: keep nothing of it."""

    def share(self) -> None:
        """Replace what is evaluated by its mean over the ranks, which call it together."""

    def own(self) -> dict[str, Tensor]:
        """This rank's own tensors by name, those in use and no copies."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps for any number of ranks, which call it together.

        All ranks go on with the mean of their own tensors.
        """
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what all parts' `state` gave; the model has its weights already."""


class GradientMean(StepPart):
    """The ranks average their gradients in each step, during the backward pass."""

    def __init__(self, model: nn.Module, synchroniser: Synchroniser):
        self._model, self._synchroniser = model, synchroniser

    def before(self, step: int) -> None:
        """Drop the spans of a step that was left out."""
        self._synchroniser.record.take()

    def after_gradients(self, step: int, batch: TaskBatch, loss_sum: float, finite: bool) -> None:
        """Check the gradients, which are the same on all ranks (NotFiniteError)."""
        if not finite:
            raise not_finite(self._model, batch.x, loss_sum, step)

    def forget_step(self) -> None:
        """Drop the errors that compression kept back."""
        self._synchroniser.forget_spoiled()

    def own(self) -> dict[str, Tensor]:
        """What compression kept back."""
        return self._synchroniser.kept_back()

    def state(self) -> dict[str, Tensor]:
        """The mean of what compression kept back."""
        return self._synchroniser.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Let compression go on."""
        self._synchroniser.restore(state)
