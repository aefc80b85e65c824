"""Random changes to training images, drawn for each image of an epoch whichever rank trains on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firetree.data.crops import RandomCrop
from firetree.data.images import U8
from firetree.data.order import Indices, RandomStream, random_stream

F32 = npt.NDArray[np.float32]

_LUMA_C = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow's)."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Changes to training images, in this order.

    An image is cropped to a random part of its area instead of its centre square. The part has at least
    `crop_scale` of the area, and its sides at most the ratio `crop_ratio`. Then `flip` mirrors half of the
    images. A shift of up to `crop_padding` pixels fills the border with black. Brightness, contrast and
    saturation are multiplied by a factor from 1 less to 1 plus the field of that name.
    """

    flip: bool = False
    crop_padding: int = 0
    crop_scale: float | None = None
    crop_ratio: float = 1.3333
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


@dataclass(frozen=True, slots=True)
class Draws:
    """One epoch's changes to images 0 to N - 1; None where a change is off.

    `flipped_N` says which images are mirrored, and `corner_N2` where each is cut from its padded image.
    `cut_N4` has the first four fields of each `RandomCrop`. `factor_N3` has the factors of brightness,
    contrast and saturation.
    """

    flipped_N: npt.NDArray[np.bool_]
    corner_N2: Indices
    padding: int
    cut_N4: F32 | None
    widest: float
    factor_N3: F32 | None

    def cuts(self, indices_B: Indices) -> list[RandomCrop] | None:
        """The crops of images `indices_B`; None for their centre squares."""
        if self.cut_N4 is None:
            return None
        rows = self.cut_N4[indices_B].tolist()
        return [RandomCrop(area, shape, x, y, self.widest) for area, shape, x, y in rows]


def draw(augmentation: Augmentation, count: int, seed: int, epoch: int) -> Draws:
    """The changes of an epoch to images 0 to `count - 1`."""
    stream = random_stream(RandomStream.AUGMENTATION, seed, epoch)
    flipped_N = stream.random(count) < (0.5 if augmentation.flip else 0)
    padding = augmentation.crop_padding
    corner_N2 = stream.integers(0, 2 * padding + 1, (count, 2))
    least = augmentation.crop_scale
    cut_N4 = None
    if least is not None:
        cut_N4 = stream.random((count, 4), np.float32)
        cut_N4[:, 0] = least + (1 - least) * cut_N4[:, 0]
    spread_3 = np.array(
        [augmentation.brightness, augmentation.contrast, augmentation.saturation], np.float32
    )
    factor_N3 = None
    if spread_3.any():
        factor_N3 = 1 + spread_3 * (2 * stream.random((count, 3), np.float32) - 1)
    return Draws(flipped_N, corner_N2, padding, cut_N4, augmentation.crop_ratio, factor_N3)


def changed(x_BHWC: U8, indices_B: Indices, draws: Draws) -> U8:
    """x_BHWC with the changes drawn for images `indices_B`, without crops; it may be changed in place."""
    flipped_B = draws.flipped_N[indices_B]
    x_BHWC[flipped_B] = x_BHWC[flipped_B, :, ::-1]
    if draws.padding:
        height, width = x_BHWC.shape[1:3]
        around = (draws.padding, draws.padding)
        padded = np.pad(x_BHWC, ((0, 0), around, around, (0, 0)))
        corners = draws.corner_N2[indices_B].tolist()
        for x_HWC, source, (top, left) in zip(x_BHWC, padded, corners, strict=True):
            x_HWC[...] = source[top : top + height, left : left + width]
    if draws.factor_N3 is not None:
        for x_HWC, factors in zip(x_BHWC, draws.factor_N3[indices_B].tolist(), strict=True):
            x_HWC[...] = _coloured(x_HWC, *factors)
    return x_BHWC


def _coloured(x_HWC: U8, brightness: float, contrast: float, saturation: float) -> U8:
    """One image with its brightness, then contrast, then saturation multiplied.

    Contrast is the distance from the image's mean grey, and saturation the distance from each pixel's own
    grey. All three are linear, so one pass applies them.
    """
    colour_HWC = x_HWC.astype(np.float32)
    grey_HW1 = colour_HWC if x_HWC.shape[2] == 1 else (colour_HWC @ _LUMA_C)[:, :, None]
    mean = brightness * (1 - contrast) * float(grey_HW1.mean())
    strength = brightness * contrast
    mixed_HWC = strength * (saturation * colour_HWC + (1 - saturation) * grey_HW1) + mean
    return np.rint(mixed_HWC).clip(0, 255).astype(np.uint8)
