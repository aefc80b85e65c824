"""Batch normalisation (Ioffe, Szegedy 2015) that takes any number of samples, alone or in a convolution.

In a `NormedConv2d`, it is folded into the convolution after training.

Axes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, over the samples that a worker computes at once.

    A worker without a share of a batch has at most one value a channel. It uses the running statistics
    and leaves them unchanged, as a frozen layer does.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.numel() > self.num_features and self.weight.requires_grad:
            return super().forward(x_BCHW)
        return F.batch_norm(
            x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def normalises_batches(model: nn.Module) -> bool:
    """Whether a layer, in training, normalises over the samples that a worker computes at once."""
    return any(
        isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
        and (not isinstance(layer, BatchNorm2d) or layer.weight.requires_grad)
        for layer in model.modules()
    )


class NormedConv2d(nn.Conv2d):
    """A convolution whose outputs are normalised."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.norm = BatchNorm2d(self.out_channels, eps=EPSILON)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        normal_BCHW: Tensor = self.norm(super().forward(x_BCHW))
        return normal_BCHW


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the same network with plain convolutions, as it is in evaluation.

    y = γ (w ∗ x + b − μ) / √(σ² + ε) + β is a convolution with weights γ w / √(σ² + ε).
    """
    plain = {name: weights for name, weights in state.items() if ".norm." not in name}
    for name in state:
        conv, is_gain, _ = name.partition(".norm.weight")
        if not is_gain:
            continue
        gain_C, offset_C, mean_C, variance_C = (
            state[f"{conv}.norm.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale_C = gain_C / torch.sqrt(variance_C + EPSILON)
        plain[f"{conv}.weight"] = state[f"{conv}.weight"] * scale_C[:, None, None, None]
        plain[f"{conv}.bias"] = (state[f"{conv}.bias"] - mean_C) * scale_C + offset_C
    return plain
