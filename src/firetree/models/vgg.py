"""VGG (Simonyan, Zisserman 2015, arXiv 1409.1556), configurations D (16 layers) and E (19 layers).

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.classic import CLASSIC_STEM_SIZE, THREE_POOL_SIZE, initialise

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""By the number of layers with weights: the 3x3 convolutions of each stage (Table 1)."""

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Images (B, channels, H, W) to logits (B, K).

    For 1,000 classes of colour images 138,357,544 (16) or 143,667,240 (19) parameters; the latter
    are FireCaffe's 575 MB. Below 100 pixels all stages have half the filters, the last ones are not
    pooled, and the hidden classifier layers have an eighth of the units.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        size: int,
        depth: Literal[16, 19],
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        published = size >= CLASSIC_STEM_SIZE
        self.pools = 5 if published else 4 if size >= THREE_POOL_SIZE else 3
        self.dropout = dropout
        widths = WIDTHS if published else tuple(width // 2 for width in WIDTHS)
        hidden, cells = (4096, 7) if published else (512, 2)
        self.stages = nn.ModuleList(
            _stage(in_channels, out_channels, convolutions)
            for in_channels, out_channels, convolutions in zip(
                (channels, *widths), widths, CONVOLUTIONS[depth], strict=False
            )
        )
        # At the published 224 pixels the last pool leaves 7x7, and this changes nothing.
        self.to_cells = nn.AdaptiveAvgPool2d(cells)
        self.fc6 = nn.Linear(widths[-1] * cells**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        initialise(self, [self.fc8])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for k, stage in enumerate(self.stages, start=1):
            x_BCHW = stage(x_BCHW)
            if k <= self.pools:
                x_BCHW = F.max_pool2d(x_BCHW, 2)
        x_BF = self.to_cells(x_BCHW).flatten(1)
        for layer in (self.fc6, self.fc7):
            x_BF = F.dropout(F.relu(layer(x_BF)), self.dropout, self.training)
        logits_BK: Tensor = self.fc8(x_BF)
        return logits_BK


def _stage(in_channels: int, out_channels: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k in range(convolutions):
        layers.append(nn.Conv2d(out_channels if k else in_channels, out_channels, 3, padding=1))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
