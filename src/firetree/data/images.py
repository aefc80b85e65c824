"""Images with labels: how they are stored, and how they come out as arrays of one size.

Letters in names: N all images, B images of a batch, H height, W width, C channels (1 grey,
3 colour), all u8. The readers beside this file find images; `decoding` turns bytes into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from firetree.data.account import HELD_OUT
from firetree.data.crops import Crop, RandomCrop
from firetree.data.damaged import DamagedImageError
from firetree.data.order import Indices

if TYPE_CHECKING:
    from PIL import Image

U8 = npt.NDArray[np.uint8]

KEPT_BYTES = 256_000_000
"""Decoded images of a split are kept for the next epoch if all of them need no more than this."""


class Images(Protocol):
    """The images of one split, all of one size and number of channels."""

    @property
    def labels(self) -> Indices:
        """labels_N."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call an image when talking to the user about it."""

    def read(self, index: int, cut: RandomCrop | None = None) -> U8:
        """x_HWC: the square at an image's centre, or the part that `cut` names, in the split's size.

        Raises DamagedImageError where it cannot be decoded.
        """

    def read_batch(
        self, indices_B: Indices, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[U8, dict[int, str]]:
        """x_BHWC without the damaged ones, and the reason for each of those by its place in B."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Images as a reader found them, of any size and colour.

    `image` gives an image, perhaps smaller than it is stored where a view of it needs no more; it
    raises DamagedImageError. `array_NHWC` is there where all lie in one array. Labels are of any
    type until they are checked.
    """

    labels: npt.NDArray[Any]
    name: Callable[[int], str]
    image: Callable[[int, Crop | None], Image.Image]
    checksum: int = 0
    """Of the names and sizes of what is stored, but for labels."""
    array_NHWC: U8 | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a reader gives; `classes` are the class names, empty where there are only numbers."""

    train: Stored
    test: Stored | None = None
    classes: tuple[str, ...] = ()
    test_from: str = HELD_OUT
    """As in `from valid/`."""
    files: int = 1
    """How many were read."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """How many files, or other things, by the reason."""
    remarks: tuple[str, ...] = ()


def in_array(
    array_NHWC: U8, labels: npt.NDArray[Any], name: Callable[[int], str], checksum: int = 0
) -> Stored:
    """Images that lie in one array with C 1 or 3."""
    return Stored(labels, name, lambda index, _: _image(array_NHWC[index]), checksum, array_NHWC)


def encoded(
    labels: npt.NDArray[Any],
    name: Callable[[int], str],
    content: Callable[[int], bytes],
    checksum: int,
) -> Stored:
    """Images that are decoded from `content` whenever one is read."""
    from firetree.data.decoding import decode

    return Stored(labels, name, lambda index, crop: decode(content(index), crop), checksum)


def _image(x_HWC: U8) -> Image.Image:
    from PIL import Image

    return Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)


def fitted(stored: Stored, labels: Indices, size: int, channels: int) -> Images:
    """The same images, `size` pixels high and wide."""
    array = stored.array_NHWC
    if array is not None and array.shape[1:] == (size, size, channels):
        return ArrayImages(labels, stored.name, array)
    from firetree.data.decoding import fit

    def seen(index: int, crop: Crop) -> U8:
        return fit(stored.image(index, crop), crop, channels)

    kept = _Kept(len(labels), size, channels)
    return FittedImages(labels, stored.name, seen, size, channels, kept)


def subset(whole: Images, rows: Indices) -> Images:
    """Those images of `whole` that `rows` name, in that order."""
    return Subset(whole.labels[rows], whole, rows)


@dataclass(frozen=True, slots=True)
class ArrayImages:
    """Images that already have their size, in one array."""

    labels: Indices
    name: Callable[[int], str]
    array_NHWC: U8

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int, cut: RandomCrop | None = None) -> U8:
        x_HWC: U8 = self.array_NHWC[index]
        if cut is None:
            return x_HWC
        return _part(x_HWC, cut)

    def read_batch(
        self, indices_B: Indices, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[U8, dict[int, str]]:
        x_BHWC = self.array_NHWC[indices_B]
        for x_HWC, cut in zip(x_BHWC, cuts_B or (), strict=cuts_B is not None):
            x_HWC[...] = _part(x_HWC, cut)
        return x_BHWC, {}


def _part(x_HWC: U8, cut: RandomCrop) -> U8:
    """The part of an image, in the image's own size."""
    from firetree.data.decoding import fit

    return fit(_image(x_HWC), Crop(x_HWC.shape[0], cut), x_HWC.shape[2])


class _Kept:
    """Images as they were read the first time; none where all together would be too many."""

    def __init__(self, count: int, size: int, channels: int):
        shape = (count, size, size, channels)
        self._x_NHWC = np.empty(shape, np.uint8) if math.prod(shape) <= KEPT_BYTES else None
        self._known_N = np.zeros(count, np.bool_)

    def __getitem__(self, index: int) -> U8 | None:
        if self._x_NHWC is None or not self._known_N[index]:
            return None
        x_HWC: U8 = self._x_NHWC[index]
        return x_HWC

    def __setitem__(self, index: int, x_HWC: U8) -> None:
        if self._x_NHWC is not None:
            self._x_NHWC[index] = x_HWC
            self._known_N[index] = True  # last, as other threads read too


@dataclass(frozen=True, slots=True)
class FittedImages:
    """Images that are brought to their size, one by one, when they are read."""

    labels: Indices
    name: Callable[[int], str]
    seen: Callable[[int, Crop], U8]
    """x_HWC, what a view shows of an image."""
    size: int
    channels: int
    kept: _Kept

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int, cut: RandomCrop | None = None) -> U8:
        known = self.kept[index] if cut is None else None
        if known is not None:
            return known
        x_HWC = self.seen(index, Crop(self.size, cut))
        if cut is None:
            self.kept[index] = x_HWC
        return x_HWC

    def read_batch(
        self, indices_B: Indices, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[U8, dict[int, str]]:
        x_BHWC = np.empty((len(indices_B), self.size, self.size, self.channels), np.uint8)
        damaged: dict[int, str] = {}
        for place, index in enumerate(indices_B.tolist()):
            try:
                x_HWC = self.read(index, cuts_B[place] if cuts_B else None)
            except DamagedImageError as error:
                damaged[place] = str(error)
            else:
                x_BHWC[place - len(damaged)] = x_HWC
        return x_BHWC[: len(indices_B) - len(damaged)], damaged


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of other images, without copying them; made by `subset`."""

    labels: Indices
    whole: Images
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.rows[index]))

    def read(self, index: int, cut: RandomCrop | None = None) -> U8:
        return self.whole.read(int(self.rows[index]), cut)

    def read_batch(
        self, indices_B: Indices, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[U8, dict[int, str]]:
        return self.whole.read_batch(self.rows[indices_B], cuts_B)
