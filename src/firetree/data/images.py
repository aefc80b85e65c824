"""Images with labels: how they are stored, and how they come out as arrays of one size.

Letters in names: N all images, B images of a batch, H height, W width, C channels (1 grey,
3 colour). Pixels are uint8. The readers beside this file find images; `decoding` turns bytes into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firetree.data.account import HELD_OUT
from firetree.data.crops import Crop, RandomCrop
from firetree.data.damaged import DamagedImageError
from firetree.data.listing import StoredFile, checksum_of
from firetree.data.order import Indices

if TYPE_CHECKING:
    from PIL import Image

U8 = npt.NDArray[np.uint8]

KEPT_BYTES = 256_000_000
"""A split's decoded images stay in memory if all of them together need at most this."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Images as a reader found them, of any size and colour.

    `image` decodes one, or raises DamagedImageError; a crop that needs fewer pixels may get a smaller
    image. `array_NHWC` has all images where they lie in one array. Labels are of any type until they
    are checked.
    """

    labels: npt.NDArray[Any]
    name: Callable[[int], str]
    image: Callable[[int, Crop | None], Image.Image]
    content: Callable[[int], bytes]
    """The bytes of one as they are stored; may raise DamagedImageError."""
    checksum: int = 0
    """Of the names and sizes of the images, without their labels."""
    sizes_N: Indices | None = None
    """Of each in bytes, where that is known before they are read."""
    size_bytes: int | None = None
    """Of all together, where that alone is known."""
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
    return Stored(
        labels,
        name,
        lambda index, _: _image(array_NHWC[index]),
        lambda index: array_NHWC[index].tobytes(),
        checksum,
        sizes_N=np.full(len(array_NHWC), array_NHWC[:1].nbytes),
        array_NHWC=array_NHWC,
    )


def in_files(
    labels: npt.NDArray[Any], name: Callable[[int], str], files: Sequence[StoredFile]
) -> Stored:
    """Images that are files, in a folder or a tar."""
    sizes = [file.length for file in files]
    return encoded(
        labels,
        name,
        lambda index: files[index].content(),
        checksum_of(files),
        sizes_N=None if None in sizes else np.array(sizes, np.int64),
    )


def encoded(
    labels: npt.NDArray[Any],
    name: Callable[[int], str],
    content: Callable[[int], bytes],
    checksum: int,
    *,
    sizes_N: Indices | None = None,
    size_bytes: int | None = None,
) -> Stored:
    """Images that are decoded from `content` whenever one is read."""
    from firetree.data.decoding import decode

    def image(index: int, crop: Crop | None) -> Image.Image:
        return decode(content(index), crop)

    return Stored(labels, name, image, content, checksum, sizes_N, size_bytes)


def _image(x_HWC: U8) -> Image.Image:
    from PIL import Image

    return Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)


@dataclass(frozen=True)
class Images:
    """The images of one split, all of one size and number of channels; made by `fit_images`.

    What was read once is kept for the next epoch, where all images together are few enough.
    """

    labels: Indices
    """labels_N."""
    rows: Indices
    """Where each of the N images lies in `stored`."""
    stored: Stored
    size: int
    channels: int
    kept_MHWC: U8
    """All M stored images as far as they are known; empty where they are too many to keep."""
    known_M: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """What to call an image when talking to the user about it."""
        return self.stored.name(int(self.rows[index]))

    def subset(self, indices: Indices) -> Images:
        """These images of the split, in this order, without copying them."""
        return replace(self, labels=self.labels[indices], rows=self.rows[indices])

    def resized(self, size: int) -> Images:
        """These images of the split, `size` pixels high and wide."""
        every = fit_images(self.stored, np.zeros(len(self.known_M), np.int64), size, self.channels)
        return replace(every, labels=self.labels, rows=self.rows)

    def read(self, index: int, cut: RandomCrop | None = None) -> U8:
        """x_HWC: the square at an image's centre, or the part that `cut` names, in the split's size.

        Raises DamagedImageError where it cannot be decoded.
        """
        row = int(self.rows[index])
        if cut is None and self.known_M[row]:
            known_HWC: U8 = self.kept_MHWC[row]
            return known_HWC
        from firetree.data.decoding import fit

        crop = Crop(self.size, cut)
        x_HWC = fit(self.stored.image(row, crop), crop, self.channels)
        if cut is None and len(self.kept_MHWC):
            self.kept_MHWC[row] = x_HWC
            self.known_M[row] = True  # last, as other threads read too
        return x_HWC

    def read_batch(
        self, indices_B: Indices, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[U8, dict[int, str]]:
        """x_BHWC without the damaged images, and the reason for each of those by its index in B."""
        rows_B = self.rows[indices_B]
        if cuts_B is None and self.known_M[rows_B].all():
            return self.kept_MHWC[rows_B], {}
        x_BHWC = np.empty((len(indices_B), self.size, self.size, self.channels), np.uint8)
        damaged: dict[int, str] = {}
        for k, index in enumerate(indices_B.tolist()):
            try:
                x_HWC = self.read(index, cuts_B[k] if cuts_B else None)
            except DamagedImageError as error:
                damaged[k] = str(error)
            else:
                x_BHWC[k - len(damaged)] = x_HWC
        return x_BHWC[: len(indices_B) - len(damaged)], damaged


def fit_images(stored: Stored, labels: Indices, size: int, channels: int) -> Images:
    """The stored images, `size` pixels high and wide."""
    count, array = len(labels), stored.array_NHWC
    ready = array is not None and array.shape[1:] == (size, size, channels)
    if array is None or not ready:
        shape = (count, size, size, channels)
        array = np.empty(shape if math.prod(shape) <= KEPT_BYTES else (0, *shape[1:]), np.uint8)
    known_M = np.full(count, ready)
    return Images(labels, np.arange(count), stored, size, channels, array, known_M)
