"""How an image becomes a network's input: sizes, the order of the colours, mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

ChannelOrder = Literal["RGB", "BGR"]

WHITE = 255.0
"""What `Preprocessing` calls white; training calls it 1."""
_LARGEST_PIXELS = 4096


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Scale and crop an image, then take (value - mean) / std of each channel.

    Raises:
        UserError: a value outside its range.
    """

    resize: int
    """Pixels of both sides with `squash`, else of the shorter side."""
    squash: bool
    """Whether to ignore the image's aspect ratio."""
    crop: int
    """Pixels a side of the square crop at the centre."""
    order: ChannelOrder
    """Of the channels."""
    mean: tuple[float, ...]
    """Of each channel in that order, where 255 is white; one number for grey."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("resize", self.crop <= self.resize <= _LARGEST_PIXELS, f"crop to {_LARGEST_PIXELS}"),
            ("crop", self.crop >= 1, "1 or more"),
            ("order", self.order in get_args(ChannelOrder), "RGB or BGR"),
            ("mean", len(self.mean) in (1, 3) and bool(np.isfinite(self.mean).all()), "1 or 3"),
            (
                "std",
                len(self.std) == len(self.mean) and all(0 < one < np.inf for one in self.std),
                "above 0",
            ),
        ):
            if not right:
                raise UserError(
                    f"preprocessing.{name} = {getattr(self, name)}; expected {expected}"
                )

    def apply(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """x_HWC of an image of mode L or RGB: its pixels, before mean and std."""
        from PIL.Image import Resampling

        image = image.convert("RGB" if len(self.mean) == 3 else "L")
        width, height = image.size
        if self.squash:
            width = height = self.resize
        else:
            scale = self.resize / min(width, height)
            width, height = round(width * scale), round(height * scale)
        # Only the crop is computed, not the whole scaled image.
        across, down = image.width / width, image.height / height
        left, top = (width - self.crop) // 2 * across, (height - self.crop) // 2 * down
        box = (left, top, left + self.crop * across, top + self.crop * down)
        size = (self.crop, self.crop)
        scaled = image.resize(size, Resampling.BILINEAR, box=box)
        x_HWC = np.asarray(scaled).reshape(*size, len(self.mean))
        return x_HWC[:, :, ::-1].copy() if self.order == "BGR" else x_HWC.copy()

    def normalise(self, x_BHWC: npt.NDArray[np.uint8]) -> Tensor:
        """x_BCHW in float32, with channels side by side in memory."""
        x = torch.from_numpy(x_BHWC).float()
        x = (x - torch.tensor(self.mean)) / torch.tensor(self.std)
        return x.permute(0, 3, 1, 2)


CAFFE = Preprocessing(256, True, 227, "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
"""For the SqueezeNets that their authors published."""

TORCHVISION = Preprocessing(
    256, False, 224, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
)
"""For torchvision's models for ImageNet."""

_GREY = {"RGB": (0.299, 0.587, 0.114), "BGR": (0.114, 0.587, 0.299)}
"""Weights of the channels in Pillow's grey, mode L (ITU-R 601-2)."""


def for_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """The preprocessing for so many channels; for one channel, mean and std become grey.

    Raises:
        UserError: other channels than 1 or 3.
    """
    if channels == len(preprocessing.mean):
        return preprocessing
    if channels != 1:
        raise UserError(f"the first layer reads {channels} channels; expected 3, or 1 for grey")
    mean, std = (
        round(sum(p * v for p, v in zip(_GREY[preprocessing.order], values, strict=True)), 3)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return replace(preprocessing, mean=(mean,), std=(std,))


def in_words(preprocessing: Preprocessing) -> str:
    """What is done to an image, in one line."""
    scaled = "both sides" if preprocessing.squash else "the shorter side"
    mean, std = (" ".join(f"{v:g}" for v in row) for row in (preprocessing.mean, preprocessing.std))
    colours = preprocessing.order if len(preprocessing.mean) == 3 else "grey"
    return (
        f"{scaled} to {preprocessing.resize} pixels, the {preprocessing.crop} in the centre, "
        f"{colours}, mean {mean}, deviation {std} of 255"
    )
