"""Pictures with labels: how they are stored, and how they come out as arrays of one size.

Letters in names: N all pictures, B pictures of a batch, H height, W width, C channels (1 grey,
3 colour), all u8. The readers beside this file find pictures; `decoding` turns bytes into them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from firetree.data.decoding import DamagedPictureError, decode, fit
from firetree.data.order import Indices

U8 = npt.NDArray[np.uint8]


class Pictures(Protocol):
    """The pictures of one split, all of one size and number of channels."""

    @property
    def labels(self) -> Indices:
        """labels_N."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call a picture when talking to the user about it."""

    def read(self, index: int) -> U8:
        """x_HWC; raises DamagedPictureError where it cannot be decoded."""

    def read_batch(self, indices_B: Indices) -> tuple[U8, dict[int, str]]:
        """x_BHWC without the damaged ones, and the reason for each of those by its place in B."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Pictures as a reader found them, of any size and colour.

    `image` raises DamagedPictureError; `array_NHWC` is there where all lie in one array. Labels are
    of any type until they are checked.
    """

    labels: npt.NDArray[Any]
    name: Callable[[int], str]
    image: Callable[[int], Image.Image]
    array_NHWC: U8 | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a reader gives; `classes` are the class names, empty where there are only numbers."""

    train: Stored
    test: Stored | None = None
    classes: tuple[str, ...] = ()


def in_array(array_NHWC: U8, labels: npt.NDArray[Any], name: Callable[[int], str]) -> Stored:
    """Pictures that lie in one array with C 1 or 3."""

    def image(index: int) -> Image.Image:
        x_HWC = array_NHWC[index]
        return Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)

    return Stored(labels, name, image, array_NHWC)


def encoded(
    labels: npt.NDArray[Any], name: Callable[[int], str], content: Callable[[int], bytes]
) -> Stored:
    """Pictures that are decoded from `content` whenever one is read."""
    return Stored(labels, name, lambda index: decode(content(index)))


def fitted(stored: Stored, labels: Indices, size: int, channels: int) -> Pictures:
    """The same pictures, `size` pixels high and wide."""
    array = stored.array_NHWC
    if array is not None and array.shape[1:] == (size, size, channels):
        return ArrayPictures(labels, stored.name, array)
    return FittedPictures(labels, stored.name, stored.image, size, channels)


def subset(whole: Pictures, rows: Indices) -> Pictures:
    """Those pictures of `whole` that `rows` name, in that order."""
    return Subset(whole.labels[rows], whole, rows)


@dataclass(frozen=True, slots=True)
class ArrayPictures:
    """Pictures that already have their size, in one array."""

    labels: Indices
    name: Callable[[int], str]
    array_NHWC: U8

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> U8:
        x_HWC: U8 = self.array_NHWC[index]
        return x_HWC

    def read_batch(self, indices_B: Indices) -> tuple[U8, dict[int, str]]:
        return self.array_NHWC[indices_B], {}


@dataclass(frozen=True, slots=True)
class FittedPictures:
    """Pictures that are brought to their size, one by one, when they are read."""

    labels: Indices
    name: Callable[[int], str]
    image: Callable[[int], Image.Image]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> U8:
        return fit(self.image(index), self.size, self.channels)

    def read_batch(self, indices_B: Indices) -> tuple[U8, dict[int, str]]:
        x_BHWC = np.empty((len(indices_B), self.size, self.size, self.channels), np.uint8)
        damaged: dict[int, str] = {}
        for place, index in enumerate(indices_B.tolist()):
            try:
                x_BHWC[place - len(damaged)] = self.read(index)
            except DamagedPictureError as error:
                damaged[place] = str(error)
        return x_BHWC[: len(indices_B) - len(damaged)], damaged


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of other pictures, without copying them; made by `subset`."""

    labels: Indices
    whole: Pictures
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.rows[index]))

    def read(self, index: int) -> U8:
        return self.whole.read(int(self.rows[index]))

    def read_batch(self, indices_B: Indices) -> tuple[U8, dict[int, str]]:
        return self.whole.read_batch(self.rows[indices_B])
