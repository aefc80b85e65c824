"""ResNet (He et al. 2015, arXiv 1512.03385), a bottleneck's stride in its 3x3 convolution ("v1.5").

Tensors have torchvision's names and shapes, so its published weights fit.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.batch_norm import BatchNorm2d
from firetree.models.classic import UNSTRIDED_SIZE, initialise

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""By the number of layers with weights: the blocks of each stage (Table 1)."""

WIDTHS = (64, 128, 256, 512)
"""Filters of a 3x3 convolution, by stage."""

EXPANSION = 4
"""A bottleneck gives this many times the filters of its 3x3 convolution."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (figure 5, left).

    (B, in_channels, H, W) to (B, width, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = self.bn2(self.conv2(y_BCHW))
        return F.relu(y_BCHW + self.downsample(x_BCHW))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them (figure 5, right).

    (B, in_channels, H, W) to (B, 4 width, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = F.relu(self.bn2(self.conv2(y_BCHW)))
        y_BCHW = self.bn3(self.conv3(y_BCHW))
        return F.relu(y_BCHW + self.downsample(x_BCHW))


class ResNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, K).

    For 1,000 classes of colour images 11,689,512 (18), 21,797,672 (34) or 25,557,032 (50) parameters. Up
    to 64 pixels conv1 is 3x3 and neither strided nor pooled, as the paper's section 4.2 has it for 32.
    """

    def __init__(
        self, *, classes: int, channels: int, size: int, depth: Literal[18, 34, 50]
    ) -> None:
        super().__init__()
        self.pooled = size > UNSTRIDED_SIZE
        stem = (7, 2, 3) if self.pooled else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], *stem, bias=False)
        self.bn1 = BatchNorm2d(WIDTHS[0])
        block, expansion = (Bottleneck, EXPANSION) if depth == 50 else (BasicBlock, 1)
        in_channels = WIDTHS[0]
        for k, (count, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True), start=1):
            first = block(in_channels, width, 1 if k == 1 else 2)
            in_channels = expansion * width
            others = (block(in_channels, width, 1) for _ in range(count - 1))
            self.add_module(f"layer{k}", nn.Sequential(first, *others))
        self.fc = nn.Linear(in_channels, classes)
        initialise(self, [self.fc])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        if self.pooled:
            x_BCHW = F.max_pool2d(x_BCHW, 3, stride=2, padding=1)
        for k in range(1, len(WIDTHS) + 1):
            x_BCHW = self.get_submodule(f"layer{k}")(x_BCHW)
        logits_BK: Tensor = self.fc(x_BCHW.mean(dim=(2, 3)))
        return logits_BK


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity, or a projection where the shape changes (option B of section 3.3)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, BatchNorm2d(out_channels))
