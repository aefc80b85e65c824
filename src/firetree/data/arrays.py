"""Images that lie in arrays: the embedded digits, and .npz files in the layouts of MNIST, Keras, MedMNIST
and CIFAR.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firetree.data.account import HELD_OUT, checksum, left_alone
from firetree.data.images import U8, Dataset, Stored, in_array
from firetree.data.split_names import Split, named, tested_on, words_of
from firetree.errors import UserError
from firetree.foreign import first_line, foreign_file, reading
from firetree.output import printable

_IMAGES = ("x", "image", "images", "img", "imgs", "data", "pixels")
_LABELS = ("y", "label", "labels", "target", "targets", "class", "classes")
_ROWS = "rows of pixels are taken for three channels, one after the other, as CIFAR has them"
_EXPECTED = "train_x and train_y, and perhaps val_x, val_y, test_x and test_y, or the like"


def read_digits() -> Dataset:
    """1,797 handwritten digits, 8x8 grey (Alpaydin and Kaynak 1998), that come with firetree."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        array_NHWC = np.rint(file["images"][..., None] * (255 / 16)).astype(np.uint8)
        labels_N = file["labels"].astype(np.int64)
    return Dataset(
        in_array(array_NHWC, labels_N, lambda index: f"image {index} of digits"), files=0
    )


def read_npz(path: Path) -> Dataset:
    """Arrays of images and labels, whose names say which they are and of which split.

    Images are `train_x`, `x_train` or `train_images`, and their labels `train_y`, `y_train` or
    `train_labels`. Where a test set is to be held out they are `x` or `data`, with `y`, `labels` or
    `target`. Validation images are tested on, or test images where there are none.

    Raises:
        UserError: not an .npz file, arrays missing, or of the wrong type, shape or length.
    """
    expected = f"an .npz file with {_EXPECTED}"
    if not zipfile.is_zipfile(path):
        what = foreign_file(path, "a zip") or "no .npz file or is cut off"
        raise UserError(f"{path} is {what}; expected {expected}")
    with reading(path, expected, "a zip", why=_why), np.load(path, allow_pickle=False) as file:
        keys, others = _by_split(path, file.files)
        train_split: Split | None = "train" if "train" in keys else None
        test_split = tested_on(keys)
        train, in_rows = _stored(path, file, train_split, keys.get(train_split, _Keys()))
        test = _stored(path, file, test_split, keys[test_split])[0] if test_split else None
    if train_split and None in keys:
        others += filter(None, keys[None])
    tested = keys[test_split].images if test_split else ""
    if test is not None:
        _check_same_size(path, train, test, keys[train_split].images, tested)
    remarks = [_ROWS] if in_rows else []
    if test_split == "validation" and "test" in keys:
        remarks.append(left_alone(tested, keys["test"].images))
    return Dataset(
        train,
        test,
        test_from=f"from {tested}" if tested else HELD_OUT,
        passed_over={"array": len(others)},
        remarks=tuple(remarks),
    )


class _Keys(NamedTuple):
    """The names of a split's arrays; empty where there is none."""

    images: str = ""
    labels: str = ""


def _by_split(path: Path, names: list[str]) -> tuple[dict[Split | None, _Keys], list[str]]:
    """The arrays of each split (None where a name says no split), and names that are no arrays of ours."""
    keys: defaultdict[Split | None, dict[str, str]] = defaultdict(dict)
    others = []
    for name in names:
        said = named(name)
        *_, last = (said.words if said else words_of(name)) or ("",)
        role = "images" if last in _IMAGES else "labels" if last in _LABELS else None
        split = said and said.split
        if role is None:
            others.append(name)
        elif role in keys[split]:
            raise UserError(
                f"{path} has {keys[split][role]} and {name}, both {role} by their names; expected one "
                "of them"
            )
        else:
            keys[split][role] = name
    return {split: _Keys(**roles) for split, roles in keys.items()}, others


def _why(error: Exception) -> str:
    if "Object arrays" in str(error):
        return "it has arrays of objects, which are never unpickled; save y.astype(str), say"
    return first_line(error)


def _stored(
    path: Path, file: Mapping[str, Any], split: Split | None, keys: _Keys
) -> tuple[Stored, bool]:
    """The split's images, and whether they are rows of colours."""
    for role, short in (("images", "x"), ("labels", "y")):
        if not getattr(keys, role):
            key = f"{split or 'train'}_{short}"
            raise UserError(
                f"{path} has no array {key}; found {', '.join(map(printable, file)) or 'none'}, "
                f"expected {_EXPECTED}"
            )
    x, y = np.asarray(file[keys.images]), np.asarray(file[keys.labels])
    images, labels = printable(keys.images), printable(keys.labels)
    if x.dtype != np.uint8:
        raise UserError(f"{images} of {path} is {x.dtype}; expected uint8 from 0 to 255")
    array_NHWC = _with_channels_last(x)
    if array_NHWC is None:
        raise UserError(
            f"{images} of {path} has shape {x.shape}; expected (count, height, width), or channels, "
            "1 or 3, before or behind these"
        )
    if y.shape not in (x.shape[:1], (len(x), 1)):
        raise UserError(
            f"{labels} of {path} has shape {y.shape}; expected ({len(x)},), one label for each image of "
            f"{images}"
        )
    stored = in_array(
        array_NHWC,
        y.reshape(-1),
        lambda index: f"{images}[{index}] of {path.name}",
        checksum([str(x.shape).encode(), np.ascontiguousarray(x).data]),
    )
    return stored, x.ndim == 2 and array_NHWC.shape[3] == 3


def _with_channels_last(x: U8) -> U8 | None:
    """The images as (N, H, W, C); None where the shape says nothing of the kind."""
    if x.ndim == 2:  # rows of pixels, as CIFAR has them: one channel after the other
        for channels in (1, 3):
            size = isqrt(x.shape[1] // channels)
            if size and channels * size**2 == x.shape[1]:
                return x.reshape(-1, channels, size, size).transpose(0, 2, 3, 1)
        return None
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or 0 in x.shape[1:]:
        return None
    if x.shape[3] in (1, 3):
        return x
    return x.transpose(0, 2, 3, 1) if x.shape[1] in (1, 3) else None


def _check_same_size(path: Path, train: Stored, test: Stored, train_name: str, name: str) -> None:
    ours, theirs = (
        () if part.array_NHWC is None else part.array_NHWC.shape[1:] for part in (train, test)
    )
    if ours != theirs:
        raise UserError(
            f"{name} of {path} has images of {theirs}; expected {ours} as in {train_name}"
        )
