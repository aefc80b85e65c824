"""A moving average of a network's weights (EMA), which is what is evaluated and kept."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from firetree.training.step_part import StepPart

Tensors = tuple[Tensor, ...] | list[Tensor]


class MovingAverage(StepPart):
    """Updates the average after each step, or with local steps whenever the ranks' weights are the same."""

    def __init__(self, model: nn.Module, average: AveragedModel, every: int):
        self._model, self._average, self._every = model, average, every

    def after_step(self, step: int, looked_at: bool) -> None:
        """Update the average."""
        if looked_at or (step + 1) % self._every == 0:
            self._average.update_parameters(self._model)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An average to be updated after each step; `decay` is what it keeps of itself, 0 to 1.

    Floats are averaged, statistics of batch normalisation too. Whole numbers, such as positions and
    counts, are copied from the network.
    """
    average_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def average(averaged: Tensors, latest: Tensors, count: Any) -> None:
        """Update tensors of one type."""
        if averaged[0].is_floating_point():
            average_floats(averaged, latest, count)
        else:
            for kept, now in zip(averaged, latest, strict=True):
                kept.copy_(now)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
