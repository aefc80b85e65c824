"""Pictures that lie in arrays: the embedded digits, and .npz files in the layout of MNIST's."""

from __future__ import annotations

import zipfile
import zlib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.account import checksum
from firetree.data.pictures import Dataset, Stored, in_array
from firetree.errors import UserError

_KEYS = ("train_x", "train_y", "test_x", "test_y")
_IN_KERAS = dict(zip(("x_train", "y_train", "x_test", "y_test"), _KEYS, strict=True))
# What a damaged .npz makes numpy raise; a header that lies can ask for any amount of memory.
_FAULTS = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_digits() -> Dataset:
    """1,797 handwritten digits, 8x8 grey, that come with scikit-learn."""
    # Read where they lie: importing scikit-learn takes longer than all else that a worker reads.
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    rows = np.loadtxt(str(path), delimiter=",")
    array_NHWC = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels_N = rows[:, -1].astype(np.int64)
    return Dataset(
        in_array(array_NHWC, labels_N, lambda index: f"picture {index} of digits"), files=0
    )


def read_npz(path: Path) -> Dataset:
    """train_x, train_y and, unless a test set is to be held out, test_x and test_y; or x_train and so
    on, as Keras names them.

    Raises:
        UserError: not an .npz file, arrays missing, or of the wrong type, shape or length.
    """
    arrays = _arrays(path)
    train = _stored(arrays, "train", path)
    if "test_x" not in arrays and "test_y" not in arrays:
        return Dataset(train)
    test = _stored(arrays, "test", path)
    ours, theirs = arrays["train_x"].shape[1:], arrays["test_x"].shape[1:]
    if ours != theirs:
        raise UserError(f"test_x of {path} has pictures of {theirs}; expected {ours} as in train_x")
    return Dataset(train, test)


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is no .npz file or is cut off; expected one with {', '.join(_KEYS)}"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {_IN_KERAS.get(key, key): np.asarray(file[key]) for key in file.files}
    except _FAULTS as error:
        raise UserError(
            f"cannot read {path}: {error!r}; expected an .npz file with {', '.join(_KEYS)}"
        ) from error


def _stored(arrays: dict[str, npt.NDArray[Any]], split: str, path: Path) -> Stored:
    for key in (f"{split}_x", f"{split}_y"):
        if key not in arrays:
            raise UserError(f"{path} has no array {key}; found {', '.join(arrays) or 'none'}")
    x, y = arrays[f"{split}_x"], arrays[f"{split}_y"]
    if x.dtype != np.uint8:
        raise UserError(f"{split}_x of {path} is {x.dtype}; expected uint8 from 0 to 255")
    array_NHWC = x[..., None] if x.ndim == 3 else x
    if array_NHWC.ndim != 4 or array_NHWC.shape[3] not in (1, 3) or 0 in array_NHWC.shape[1:]:
        raise UserError(
            f"{split}_x of {path} has shape {x.shape}; expected (count, height, width) or "
            "(count, height, width, 1 or 3)"
        )
    if y.shape != x.shape[:1]:
        raise UserError(
            f"{split}_y of {path} has shape {y.shape}; expected ({len(x)},), a label for each "
            f"picture of {split}_x"
        )
    return in_array(
        array_NHWC,
        y,
        lambda index: f"{split}_x[{index}] of {path.name}",
        checksum([str(x.shape).encode(), np.ascontiguousarray(x).tobytes()]),
    )
