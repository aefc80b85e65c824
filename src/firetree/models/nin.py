"""Network in Network for ImageNet (Lin, Chen, Yan 2014, arXiv 1312.4400; widths of the Caffe zoo).

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from firetree.models.classic import CLASSIC_STEM_SIZE, THREE_POOL_SIZE, initialise


class MlpConvShape(NamedTuple):
    """An mlpconv layer: its k x k convolution, and the filters of it and of the 1x1 ones after it."""

    filters: int
    kernel: int
    stride: int
    padding: int


PUBLISHED = (
    MlpConvShape(96, 11, 4, 0),
    MlpConvShape(256, 5, 1, 2),
    MlpConvShape(384, 3, 1, 1),
    MlpConvShape(1024, 3, 1, 1),
)
SMALL = (
    MlpConvShape(64, 5, 1, 2),
    MlpConvShape(128, 5, 1, 2),
    MlpConvShape(192, 3, 1, 1),
    MlpConvShape(256, 3, 1, 1),
)


class MlpConv(nn.Sequential):
    """A convolution and two 1x1 convolutions, a small network slid over the image (section 3.1).

    (B, in_channels, H, W) to (B, out_channels, H', W').
    """

    def __init__(self, in_channels: int, shape: MlpConvShape, out_channels: int) -> None:
        filters, kernel, stride, padding = shape
        super().__init__(
            nn.Conv2d(in_channels, filters, kernel, stride, padding),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 1),
            nn.ReLU(),
            nn.Conv2d(filters, out_channels, 1),
        )


class NetworkInNetwork(nn.Module):
    """Images (B, channels, H, W) to logits (B, K).

    7,595,176 parameters for 1,000 classes of colour images: FireCaffe's 30 MB. The zoo's ReLU
    after the last convolution is left out, because a class that it silences everywhere never learns
    again.
    """

    def __init__(self, *, classes: int, channels: int, size: int, dropout: float = 0.5) -> None:
        super().__init__()
        shapes = PUBLISHED if size >= CLASSIC_STEM_SIZE else SMALL
        self.pools = 3 if size >= THREE_POOL_SIZE else 2
        self.dropout = dropout
        widths = [shape.filters for shape in shapes[:-1]]
        self.mlpconvs = nn.ModuleList(
            MlpConv(in_channels, shape, out_channels)
            for in_channels, shape, out_channels in zip(
                [channels, *widths], shapes, [*widths, classes], strict=True
            )
        )
        initialise(self, [self.mlpconvs[-1][-1]])  # type: ignore[index]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        *features, classifier = self.mlpconvs
        for k, mlpconv in enumerate(features, start=1):
            x_BCHW = F.relu(mlpconv(x_BCHW))
            if k <= self.pools:
                x_BCHW = F.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)
        x_BCHW = F.dropout(x_BCHW, self.dropout, self.training)
        x_BKHW: Tensor = classifier(x_BCHW)
        return x_BKHW.mean(dim=(2, 3))
