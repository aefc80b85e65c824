"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), MobileNetV3-Small (Howard et al. 2019, arXiv 1905.02244).

Tensors have torchvision's names and shapes, so its published weights fit. Up to 64 pixels the first two
strides are left out, which changes no tensor's shape: 32x32 still ends in 4x4 cells.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.batch_norm import BatchNorm2d
from firetree.models.classic import UNSTRIDED_SIZE, initialise


class Stage(NamedTuple):
    """A row of V2's Table 2: blocks that give so many channels, the first of them with the stride."""

    expansion: int
    filters: int
    blocks: int
    stride: int


V2 = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
_UNSTRIDED_V2 = (V2[0], V2[1]._replace(stride=1), *V2[2:])


class Row(NamedTuple):
    """A block of V3's Table 2: its depthwise kernel, and the channels within and after it."""

    kernel: int
    expanded: int
    filters: int
    is_squeezed: bool
    activation: type[nn.Module]
    stride: int


V3_SMALL = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(3, 88, 24, False, nn.ReLU, 1),
    Row(5, 96, 40, True, nn.Hardswish, 2),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 120, 48, True, nn.Hardswish, 1),
    Row(5, 144, 48, True, nn.Hardswish, 1),
    Row(5, 288, 96, True, nn.Hardswish, 2),
    Row(5, 576, 96, True, nn.Hardswish, 1),
    Row(5, 576, 96, True, nn.Hardswish, 1),
)
_UNSTRIDED_V3 = (V3_SMALL[0]._replace(stride=1), *V3_SMALL[1:])


class MobileNetV2(nn.Module):
    """Images (B, channels, H, W) to logits (B, K): 3,504,872 parameters for 1,000 classes in colour."""

    def __init__(self, *, classes: int, channels: int, size: int, dropout: float = 0.2) -> None:
        super().__init__()
        stride, stages = (2, V2) if size > UNSTRIDED_SIZE else (1, _UNSTRIDED_V2)
        width = 32
        layers: list[nn.Module] = [_convolution(channels, width, 3, stride)]
        for stage in stages:
            for block_stride in (stage.stride, *[1] * (stage.blocks - 1)):
                block = _InvertedResidual(width, stage.expansion, stage.filters, block_stride)
                layers.append(block)
                width = stage.filters
        self.features = nn.Sequential(*layers, _convolution(width, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes))
        initialise(self, [self.classifier[-1]])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.features(x_BCHW).mean(dim=(2, 3)))
        return logits_BK


class MobileNetV3Small(nn.Module):
    """Images (B, channels, H, W) to logits (B, K): 2,542,856 parameters for 1,000 classes in colour."""

    def __init__(self, *, classes: int, channels: int, size: int, dropout: float = 0.2) -> None:
        super().__init__()
        stride, rows = (2, V3_SMALL) if size > UNSTRIDED_SIZE else (1, _UNSTRIDED_V3)
        width = 16
        layers: list[nn.Module] = [_v3_convolution(channels, width, 3, stride)]
        for row in rows:
            layers.append(_SqueezedResidual(width, row))
            width = row.filters
        self.features = nn.Sequential(*layers, _v3_convolution(width, 576, 1))
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(1024, classes)
        )
        initialise(self, [self.classifier[-1]])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.features(x_BCHW).mean(dim=(2, 3)))
        return logits_BK


class _InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1 without an activation (V2's figure 3b)."""

    def __init__(self, in_channels: int, expansion: int, filters: int, stride: int) -> None:
        super().__init__()
        expanded = expansion * in_channels
        expand = [_convolution(in_channels, expanded, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            _convolution(expanded, expanded, 3, stride, groups=expanded),
            nn.Conv2d(expanded, filters, 1, bias=False),
            BatchNorm2d(filters),
        )
        self.is_residual = stride == 1 and in_channels == filters

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.conv(x_BCHW)
        return x_BCHW + y_BCHW if self.is_residual else y_BCHW


class _SqueezedResidual(nn.Module):
    """The same, with the channels between scaled by what the whole image has of them (V3's figure 4)."""

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        expanded, activation = row.expanded, row.activation
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(_v3_convolution(in_channels, expanded, 1, activation=activation))
        depthwise = (expanded, expanded, row.kernel, row.stride)
        layers.append(_v3_convolution(*depthwise, groups=expanded, activation=activation))
        if row.is_squeezed:
            layers.append(_SqueezeExcitation(expanded))
        projection = nn.Conv2d(expanded, row.filters, 1, bias=False)
        layers.append(nn.Sequential(projection, _v3_norm(row.filters)))
        self.block = nn.Sequential(*layers)
        self.is_residual = row.stride == 1 and in_channels == row.filters

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.block(x_BCHW)
        return x_BCHW + y_BCHW if self.is_residual else y_BCHW


class _SqueezeExcitation(nn.Module):
    """Scale each channel by a factor that follows from all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels // 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC11 = x_BCHW.mean(dim=(2, 3), keepdim=True)
        return x_BCHW * F.hardsigmoid(self.fc2(F.relu(self.fc1(mean_BC11))))


def _convolution(
    in_channels: int,
    filters: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    norm: Callable[[int], nn.Module] = BatchNorm2d,
    activation: type[nn.Module] = nn.ReLU6,
) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(filters), activation())


# The paper's statistics take in a hundredth of each batch, too little for runs of a few hundred steps.
_v3_norm = partial(BatchNorm2d, eps=1e-3)
_v3_convolution = partial(_convolution, norm=_v3_norm, activation=nn.Hardswish)


def _multiple_of_8(channels: int) -> int:
    """The nearest multiple of 8, but none that is more than a tenth smaller."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
