"""Random changes to training images, drawn for each image of an epoch whoever trains on it."""

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
    """What is done to training images, in this order.

    Each is seen through a random part of its area (at least `crop_scale` of it, its sides at most
    `crop_ratio` to 1) instead of the square at its centre, half of them mirrored, shifted by up to
    `crop_padding` pixels with black coming in, and its brightness, contrast and saturation multiplied
    by 1 less to 1 plus the number of that name.
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
    """One epoch's changes to images 0 to N - 1.

    Who is mirrored, where each is cut from its padded self, the fields of its `RandomCrop` but the last, and
    the factors of brightness, contrast and saturation; None where nothing is to be done.
    """

    flipped_N: npt.NDArray[np.bool_]
    corner_N2: Indices
    padding: int
    cut_N4: F32 | None
    widest: float
    factor_N3: F32 | None

    def cuts(self, indices_B: Indices) -> list[RandomCrop] | None:
        """The parts through which images `indices_B` are seen; None for the squares at the centre."""
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
    """x_BHWC with the changes drawn for images `indices_B` (but the cuts); may be done in place."""
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

    Contrast is the distance from the image's mean grey, saturation that from each pixel's own grey.
    All three are linear, so that they can be done in one go.
    """
    colour_HWC = x_HWC.astype(np.float32)
    grey_HW1 = colour_HWC if x_HWC.shape[2] == 1 else (colour_HWC @ _LUMA_C)[:, :, None]
    mean = brightness * (1 - contrast) * float(grey_HW1.mean())
    strength = brightness * contrast
    mixed_HWC = strength * (saturation * colour_HWC + (1 - saturation) * grey_HW1) + mean
    return np.rint(mixed_HWC).clip(0, 255).astype(np.uint8)
