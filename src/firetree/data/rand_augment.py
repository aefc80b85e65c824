"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few random operations on an image, all of one strength.

Operations are the paper's 14. At full strength they rotate by 30°, shear by 0.3, shift by 0.45 of a side,
multiply colours and sharpness by 0.1 or 1.9, leave 4 bits, and invert all values. What comes in is black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.images import U8
from firetree.data.order import Indices
from firetree.extras import extra

with extra("images", "augment images"):
    from PIL import Image, ImageEnhance, ImageOps

_Operation = Callable[[Image.Image, float], Image.Image]
"""An image and a strength, from -1 to 1, to an image."""


@dataclass(frozen=True, slots=True)
class Operations:
    """One epoch's operations on images 0 to N - 1, O on each: which, and with which strength."""

    which_NO: Indices
    strength_NO: npt.NDArray[np.float64]

    def apply(self, x_HWC: U8, index: int) -> U8:
        """The image of this index after its operations."""
        image = Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)
        drawn = zip(self.which_NO[index].tolist(), self.strength_NO[index].tolist(), strict=True)
        for which, strength in drawn:
            image = OPERATIONS[which](image, strength)
        return np.asarray(image).reshape(x_HWC.shape)


def draw_operations(
    each: int, strength: float, count: int, stream: np.random.Generator
) -> Operations:
    """So many operations on each of `count` images, as likely to one side as to the other."""
    which_NO = stream.integers(0, len(OPERATIONS), (count, each))
    is_negative_NO = stream.random((count, each)) < 0.5
    return Operations(which_NO, np.where(is_negative_NO, -strength, strength))


def _enhanced(kind: Any) -> _Operation:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


def _moved(coefficients: Callable[[float, int, int], tuple[float, ...]]) -> _Operation:
    """Each pixel (x, y) from a x + b y + c, d x + e y + f, by strength, width and height."""

    def moved(image: Image.Image, strength: float) -> Image.Image:
        data = coefficients(strength, *image.size)
        return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)

    return moved


OPERATIONS: tuple[_Operation, ...] = (
    lambda image, _: image,
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, strength: image.rotate(30 * strength, Image.Resampling.BILINEAR),
    lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    # Shears keep the centre where it is.
    _moved(lambda strength, _, height: (1, 0.3 * strength, -0.15 * strength * height, 0, 1, 0)),
    _moved(lambda strength, width, _: (1, 0, 0, 0.3 * strength, 1, -0.15 * strength * width)),
    _moved(lambda strength, width, _: (1, 0, 0.45 * strength * width, 0, 1, 0)),
    _moved(lambda strength, _, height: (1, 0, 0, 0, 1, 0.45 * strength * height)),
)
