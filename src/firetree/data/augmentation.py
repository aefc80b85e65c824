"""Random changes to training images, drawn for each image of an epoch whichever rank trains on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from firetree.data.crops import RandomCrop
from firetree.data.images import U8
from firetree.data.mixing import F32, Mixtures, draw_mixtures
from firetree.data.order import Indices, RandomStream, random_stream

if TYPE_CHECKING:
    from firetree.data.rand_augment import Operations

_LUMA_C = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow's)."""

STRONGEST = 30
"""The largest magnitude of RandAugment."""

_ERASED_AREA = 0.02, 0.33
"""Least and largest share of an image's area that is erased."""
_ERASED_RATIO = 10 / 3


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Changes to training images, in this order.

    An image is cropped to a random part of its area instead of its centre square. The part has at least
    `crop_scale` of the area, and its sides at most the ratio `crop_ratio`. Then `flip` mirrors half of the
    images. A shift of up to `crop_padding` pixels fills the border with black. `rand_augment` operations of
    magnitude `rand_augment_magnitude` follow (see `rand_augment.py`). Brightness, contrast and saturation
    are multiplied by a factor from 1 less to 1 plus the field of that name. With probability `erase`, a
    part of 2 to 33 % of the area gets the mean colour (random erasing, Zhong et al. 2017, arXiv
    1708.04896). `mixup` and `cutmix` are the α of `mixing.py`.
    """

    flip: bool = False
    crop_padding: int = 0
    crop_scale: float | None = None
    crop_ratio: float = 1.3333
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, slots=True)
class Draws:
    """One epoch's changes to images 0 to N - 1; None where a change is off.

    `flipped_N` says which images are mirrored, and `corner_N2` where each is cut from its padded image.
    `cut_N4` has the first four fields of each `RandomCrop`, and `erased_N4` those of the part that is
    erased, with an area of 0 where none is. `factor_N3` has the factors of brightness, contrast and
    saturation.
    """

    flipped_N: npt.NDArray[np.bool_]
    corner_N2: Indices
    padding: int
    cut_N4: F32 | None
    widest: float
    operations: Operations | None
    factor_N3: F32 | None
    erased_N4: F32 | None
    mixtures: Mixtures | None

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
    cut_N4 = None if least is None else _parts(count, least, 1, stream)
    spread_3 = np.array(
        [augmentation.brightness, augmentation.contrast, augmentation.saturation], np.float32
    )
    factor_N3 = None
    if spread_3.any():
        factor_N3 = 1 + spread_3 * (2 * stream.random((count, 3), np.float32) - 1)
    erased_N4 = None
    if augmentation.erase:
        erased_N4 = _parts(count, *_ERASED_AREA, stream)
        erased_N4[stream.random(count) >= augmentation.erase, 0] = 0
    mixtures = draw_mixtures(augmentation.mixup, augmentation.cutmix, count, stream)
    return Draws(
        flipped_N,
        corner_N2,
        padding,
        cut_N4,
        augmentation.crop_ratio,
        _operations(augmentation, count, stream),
        factor_N3,
        erased_N4,
        mixtures,
    )


def _parts(count: int, least: float, most: float, stream: np.random.Generator) -> F32:
    """The first four fields of random parts, with areas from `least` to `most`."""
    part_N4 = stream.random((count, 4), np.float32)
    part_N4[:, 0] = least + (most - least) * part_N4[:, 0]
    return part_N4


def _operations(
    augmentation: Augmentation, count: int, stream: np.random.Generator
) -> Operations | None:
    if not augmentation.rand_augment:
        return None
    from firetree.data.rand_augment import draw_operations

    strength = augmentation.rand_augment_magnitude / STRONGEST
    return draw_operations(augmentation.rand_augment, strength, count, stream)


def changed(x_BHWC: U8, indices_B: Indices, draws: Draws) -> U8:
    """x_BHWC with the changes to pixels drawn for images `indices_B`; it may be changed in place.

    Crops, and what `erase` and mixing do to a normalised batch, are not among them.
    """
    flipped_B = draws.flipped_N[indices_B]
    x_BHWC[flipped_B] = x_BHWC[flipped_B, :, ::-1]
    if draws.padding:
        height, width = x_BHWC.shape[1:3]
        around = (draws.padding, draws.padding)
        padded = np.pad(x_BHWC, ((0, 0), around, around, (0, 0)))
        corners = draws.corner_N2[indices_B].tolist()
        for x_HWC, source, (top, left) in zip(x_BHWC, padded, corners, strict=True):
            x_HWC[...] = source[top : top + height, left : left + width]
    if draws.operations is not None:
        for x_HWC, index in zip(x_BHWC, indices_B.tolist(), strict=True):
            x_HWC[...] = draws.operations.apply(x_HWC, index)
    if draws.factor_N3 is not None:
        for x_HWC, factors in zip(x_BHWC, draws.factor_N3[indices_B].tolist(), strict=True):
            x_HWC[...] = _coloured(x_HWC, *factors)
    return x_BHWC


def erase(x_BHWC: F32, indices_B: Indices, draws: Draws) -> None:
    """Erase, in place, the parts drawn for normalised images: 0 is the mean colour."""
    if draws.erased_N4 is None:
        return
    height, width = x_BHWC.shape[1:3]
    rows = draws.erased_N4[indices_B].tolist()
    for x_HWC, (area, shape, across, down) in zip(x_BHWC, rows, strict=True):
        if area:
            part = RandomCrop(area, shape, across, down, _ERASED_RATIO)
            left, top, right, bottom = map(round, part.box(width, height))
            x_HWC[top:bottom, left:right] = 0


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
