"""Random changes to training pictures, drawn for each picture of an epoch whoever trains on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firetree.data.order import Indices, Stream, random_stream
from firetree.data.pictures import U8


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Mirror half of the pictures; shift each by up to `crop_padding` pixels, black coming in."""

    flip: bool = False
    crop_padding: int = 0


@dataclass(frozen=True, slots=True)
class Draws:
    """One epoch's changes: who is mirrored, and where each picture is cut from its padded self."""

    flipped_N: npt.NDArray[np.bool_]
    corner_N2: Indices
    padding: int


def draw(augmentation: Augmentation, count: int, seed: int, epoch: int) -> Draws:
    """The changes of an epoch to pictures 0 to `count - 1`."""
    stream = random_stream(Stream.AUGMENTATION, seed, epoch)
    flipped_N = stream.random(count) < (0.5 if augmentation.flip else 0)
    padding = augmentation.crop_padding
    return Draws(flipped_N, stream.integers(0, 2 * padding + 1, (count, 2)), padding)


def changed(x_BHWC: U8, indices_B: Indices, draws: Draws) -> U8:
    """x_BHWC with the changes drawn for pictures `indices_B`; the given array is not kept."""
    flipped_B = draws.flipped_N[indices_B]
    x_BHWC[flipped_B] = x_BHWC[flipped_B, :, ::-1]
    if draws.padding:
        height, width = x_BHWC.shape[1:3]
        around = (draws.padding, draws.padding)
        padded = np.pad(x_BHWC, ((0, 0), around, around, (0, 0)))
        corners = draws.corner_N2[indices_B].tolist()
        for x_HWC, source, (top, left) in zip(x_BHWC, padded, corners, strict=True):
            x_HWC[...] = source[top : top + height, left : left + width]
    return x_BHWC
