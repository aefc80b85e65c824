"""Mixtures of two images and their labels: mixup (Zhang et al. 2017, arXiv 1710.09412) and cutmix (Yun et al.
2019, arXiv 1905.04899).

An image is mixed with the next one of its step's batch over all ranks, the last with the first. The order of
images is random, so this is a random partner. A rank has to read one image beyond its share.

Letters in names: N images of an epoch, B images of a rank's batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firetree.data.crops import RandomCrop
from firetree.data.order import Indices

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mixtures:
    """One epoch's mixtures of images 0 to N - 1, each with another one.

    `own_N` is what stays of the image. By cutmix (`is_cut_N`), the rest is a square of the other image,
    whose place in the image is `place_N2` (0 to 1 across and down); by mixup it is in all pixels.
    """

    own_N: npt.NDArray[np.float64]
    is_cut_N: npt.NDArray[np.bool_]
    place_N2: npt.NDArray[np.float64]

    def put_into(self, x_HWC: F32, index: int, other_HWC: F32) -> float:
        """Mix another image into the one of this index; return what stays of that, 0 to 1."""
        own = float(self.own_N[index])
        if not self.is_cut_N[index]:
            x_HWC *= own
            x_HWC += (1 - own) * other_HWC
            return own
        height, width, _ = x_HWC.shape
        left, top, right, bottom = self._square(index, width, height)
        x_HWC[top:bottom, left:right] = other_HWC[top:bottom, left:right]
        stays: float = 1 - (bottom - top) * (right - left) / (height * width)
        return stays

    def _square(self, index: int, width: int, height: int) -> Sequence[int]:
        """Yun et al. cut off what is outside the image; this square lies inside it, with all its area."""
        area = 1 - float(self.own_N[index])
        if not area:
            return 0, 0, 0, 0
        across, down = self.place_N2[index].tolist()
        return [round(edge) for edge in RandomCrop(area, 0.5, across, down, 1.0).box(width, height)]


def draw_mixtures(
    mixup: float, cutmix: float, count: int, stream: np.random.Generator
) -> Mixtures | None:
    """What stays of an image is drawn from Beta(α, α); with both α above 0, each is for half of the images."""
    if not (mixup or cutmix):
        return None
    is_cut_N = stream.random(count) < (0.5 if mixup and cutmix else bool(cutmix))
    alpha_N = np.where(is_cut_N, cutmix, mixup)
    return Mixtures(stream.beta(alpha_N, alpha_N), is_cut_N, stream.random((count, 2)))


def mix(
    x_BHWC: F32,
    labels_B: Indices,
    indices_B: Indices,
    is_next_B: npt.NDArray[np.bool_],
    mixtures: Mixtures,
    classes: int,
) -> F32:
    """Mix images in place with those after them; return y_BK, each class's share of each image.

    Args:
        indices_B: of the images among those of the epoch.
        is_next_B: whether the one after an image is its partner; those without one stay as they are.
    """
    y_BK = np.zeros((len(indices_B), classes), np.float32)
    for k, (index, is_next) in enumerate(zip(indices_B.tolist(), is_next_B.tolist(), strict=True)):
        own = mixtures.put_into(x_BHWC[k], index, x_BHWC[k + 1]) if is_next else 1.0
        y_BK[k, labels_B[k]] = own
        if is_next:
            y_BK[k, labels_B[k + 1]] += 1 - own
    return y_BK
