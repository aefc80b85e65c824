"""GoogLeNet (Szegedy et al. 2015, arXiv 1409.4842), with both auxiliary classifiers.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.classic import (
    CLASSIC_STEM_SIZE,
    THREE_POOL_SIZE,
    initialise,
    local_response_norm,
)
from firetree.models.outputs import Outputs


class InceptionWidths(NamedTuple):
    """Filters of an inception module: a row of the paper's Table 1."""

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    project: int

    @property
    def out(self) -> int:
        """Channels that the module gives."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.project


STEM = (64, 64, 192)
"""Filters of conv1 (7x7), reduce2 (1x1) and conv2 (3x3)."""

INCEPTIONS = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
"""By name, in order."""

HEADS = ("4a", "4d")
"""The inception modules that an auxiliary classifier follows."""


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pooling side by side (the paper's figure 2b).

    (B, in_channels, H, W) to (B, widths.out, H, W).
    """

    def __init__(self, in_channels: int, widths: InceptionWidths) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(in_channels, widths.conv1x1, 1)
        self.reduce3x3 = nn.Conv2d(in_channels, widths.reduce3x3, 1)
        self.conv3x3 = nn.Conv2d(widths.reduce3x3, widths.conv3x3, 3, padding=1)
        self.reduce5x5 = nn.Conv2d(in_channels, widths.reduce5x5, 1)
        self.conv5x5 = nn.Conv2d(widths.reduce5x5, widths.conv5x5, 5, padding=2)
        self.project = nn.Conv2d(in_channels, widths.project, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        branches = (
            self.conv1x1(x_BCHW),
            self.conv3x3(F.relu(self.reduce3x3(x_BCHW))),
            self.conv5x5(F.relu(self.reduce5x5(x_BCHW))),
            self.project(F.max_pool2d(x_BCHW, 3, stride=1, padding=1)),
        )
        return F.relu(torch.cat(branches, dim=1))


class Head(nn.Module):
    """An auxiliary classifier (section 5): (B, in_channels, H, W) to logits (B, K).

    In the small form it averages to 2x2 cells instead of 4x4 and has a quarter of the hidden units.
    """

    def __init__(self, in_channels: int, classes: int, published: bool, dropout: float) -> None:
        super().__init__()
        filters, hidden, cells = (128, 1024, 4) if published else (64, 256, 2)
        # 14x14, as from 224 pixels, becomes 4x4 at once, and the adaptive pooling changes nothing.
        self.pool = nn.Sequential(
            nn.AvgPool2d(5, stride=3) if published else nn.Identity(), nn.AdaptiveAvgPool2d(cells)
        )
        self.conv = nn.Conv2d(in_channels, filters, 1)
        self.fc1 = nn.Linear(filters * cells**2, hidden)
        self.fc2 = nn.Linear(hidden, classes)
        self.dropout = dropout

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BF = F.relu(self.conv(self.pool(x_BCHW))).flatten(1)
        x_BF = F.dropout(F.relu(self.fc1(x_BF)), self.dropout, self.training)
        logits_BK: Tensor = self.fc2(x_BF)
        return logits_BK


class GoogLeNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, K); in training mode to `Outputs`.

    For 1,000 classes of colour images 13,378,280 parameters (54 MB, FireCaffe's figure), of which
    6,998,552 (28 MB) are outside the auxiliary classifiers. Below 100 pixels all modules have half
    the filters, and conv1 is 3x3 and neither strided nor pooled.
    """

    def __init__(
        self, *, classes: int, channels: int, size: int, dropout: float | None = None
    ) -> None:
        """
        Args:
            dropout: probability before each classifier's last layer; None for the paper's 0.4, and
                0.7 in the auxiliary ones.
        """
        super().__init__()
        self.published = size >= CLASSIC_STEM_SIZE
        self.pools = ("3b", "4e") if size >= THREE_POOL_SIZE else ("3b",)
        self.dropout = 0.4 if dropout is None else dropout
        share = 1 if self.published else 2
        conv1, reduce2, conv2 = (filters // share for filters in STEM)
        self.conv1 = nn.Conv2d(channels, conv1, *((7, 2, 3) if self.published else (3, 1, 1)))
        self.reduce2 = nn.Conv2d(conv1, reduce2, 1)
        self.conv2 = nn.Conv2d(reduce2, conv2, 3, padding=1)
        width = conv2
        self.heads = nn.ModuleDict()
        for name, full in INCEPTIONS.items():
            widths = InceptionWidths(*(filters // share for filters in full))
            self.add_module(f"inception{name}", Inception(width, widths))
            width = widths.out
            if name in HEADS:
                self.heads[name] = Head(
                    width, classes, self.published, 0.7 if dropout is None else dropout
                )
        self.classifier = nn.Linear(width, classes)
        initialise(
            self, [self.classifier, *(head.get_submodule("fc2") for head in self.heads.values())]
        )

    def forward(self, x_BCHW: Tensor) -> Tensor | Outputs:
        x_BCHW = F.relu(self.conv1(x_BCHW))
        x_BCHW = local_response_norm(_pool(x_BCHW) if self.published else x_BCHW)
        x_BCHW = F.relu(self.conv2(F.relu(self.reduce2(x_BCHW))))
        x_BCHW = _pool(local_response_norm(x_BCHW))
        auxiliary = []
        for name in INCEPTIONS:
            x_BCHW = self.get_submodule(f"inception{name}")(x_BCHW)
            if self.training and name in self.heads:
                auxiliary.append(self.heads[name](x_BCHW))
            if name in self.pools:
                x_BCHW = _pool(x_BCHW)
        x_BF = F.dropout(x_BCHW.mean(dim=(2, 3)), self.dropout, self.training)
        logits_BK: Tensor = self.classifier(x_BF)
        return Outputs(logits_BK, tuple(auxiliary)) if self.training else logits_BK


def _pool(x_BCHW: Tensor) -> Tensor:
    return F.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)
