"""AlexNet (Krizhevsky, Sutskever, Hinton 2012), as Caffe has it: images of 227x227.

Its sibling in one tower (Krizhevsky 2014, arXiv 1404.5997) is the one whose weights torchvision has.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.classic import (
    CLASSIC_STEM_SIZE,
    THREE_POOL_SIZE,
    initialise,
    local_response_norm,
)


class AlexNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, K).

    For 1,000 classes of colour images 62,378,344 parameters (249 MB, FireCaffe's figure), or
    60,965,224 (244 MB) where conv2, conv4 and conv5 are grouped. Below 100 pixels the convolutions
    have half the filters, those of one of the paper's two towers, and fc6 and fc7 an eighth. In one
    tower 61,100,840 parameters, without normalisation.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        size: int,
        grouped: bool = False,
        one_tower: bool = False,
        dropout: float = 0.5,
    ) -> None:
        """
        Args:
            one_tower: with the filters of Krizhevsky 2014, as torchvision has them.
            grouped: conv2, conv4 and conv5 see half of the channels each, as on the paper's two GPUs.
            dropout: probability before fc6 and fc7.
        """
        super().__init__()
        published = size >= CLASSIC_STEM_SIZE
        hidden, cells = (4096, 6) if published else (512, 4)
        groups = 2 if grouped else 1
        self.normalised = not one_tower
        self.pools = (1, 2, 5) if size >= THREE_POOL_SIZE else (1, 2)
        self.dropout = dropout
        stem = (11, 4, 2 if one_tower else 0) if published else (5, 1, 2)
        filters = (64, 192, 384, 256, 256) if one_tower else (96, 256, 384, 384, 256)
        conv1, conv2, conv3, conv4, conv5 = (n if published else n // 2 for n in filters)
        self.conv1 = nn.Conv2d(channels, conv1, *stem)
        self.conv2 = nn.Conv2d(conv1, conv2, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(conv2, conv3, 3, padding=1)
        self.conv4 = nn.Conv2d(conv3, conv4, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(conv4, conv5, 3, padding=1, groups=groups)
        # At the published 227 pixels pool5 leaves 6x6, and this changes nothing.
        self.to_cells = nn.AdaptiveAvgPool2d(cells)
        self.fc6 = nn.Linear(conv5 * cells**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        initialise(self, [self.fc8])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for k in range(1, 6):
            x_BCHW = F.relu(self.get_submodule(f"conv{k}")(x_BCHW))
            if self.normalised and k <= 2:
                x_BCHW = local_response_norm(x_BCHW)
            if k in self.pools:
                x_BCHW = F.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)
        x_BF = self.to_cells(x_BCHW).flatten(1)
        for layer in (self.fc6, self.fc7):
            x_BF = F.relu(layer(F.dropout(x_BF, self.dropout, self.training)))
        logits_BK: Tensor = self.fc8(x_BF)
        return logits_BK
