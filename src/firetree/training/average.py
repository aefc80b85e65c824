"""A moving average of a network's weights, which is what is evaluated and kept."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An average to be updated after each step; `decay` is what it keeps of itself, 0 to 1.

    Floats are averaged, statistics of batch normalisation too. Whole numbers, such as positions and
    counts, are the network's own.
    """
    average_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def average(averaged: Tensors, latest: Tensors, count: Any) -> None:
        """Of tensors of one type."""
        if averaged[0].is_floating_point():
            average_floats(averaged, latest, count)
        else:
            for kept, now in zip(averaged, latest, strict=True):
                kept.copy_(now)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
