"""Every layout of arrays ends in the right account, or in one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import account, load

from firetree.errors import UserError

X = np.arange(8 * 6 * 6, dtype=np.uint8).reshape(8, 6, 6)


Y = np.arange(8) % 2


ARRAYS = [
    ({"x": X, "y": Y}, "6 images of 2 classes to train on, 2 to test (held out)"),
    (
        {"data": X.reshape(8, 36), "labels": Y},
        "6 images of 2 classes to train on, 2 to test (held out)",
    ),
    (
        {"x_train": X, "y_train": Y, "x_test": X[:4], "y_test": Y[:4], "note": np.array(1)},
        "8 images of 2 classes to train on, 4 to test (from x_test); passed over: 1 array",
    ),
    (
        {
            f"{s}_{k}": v
            for s in ("train", "val", "test")
            for k, v in (("images", X), ("labels", Y[:, None]))
        },
        "8 images of 2 classes to train on, 8 to test (from val_images)",
    ),
    (
        {
            "X_train": X,
            "Y_train": np.array(["dog", "cat"] * 4),
            "X_valid": X,
            "Y_valid": np.array(["cat"] * 8),
        },
        "8 images of 2 classes to train on, 8 to test (from X_valid)",
    ),
    (
        {"train_x": X, "train_y": Y.astype(float)},
        "6 images of 2 classes to train on, 2 to test (held out)",
    ),
    (
        {"train_data": np.zeros((8, 3 * 36), np.uint8), "train_labels": Y.astype(bool)},
        "6 images of 2 classes to train on, 2 to test (held out)",
    ),
]


@pytest.mark.parametrize(("arrays", "expected"), ARRAYS)
def test_arrays_by_any_usual_name_are_accounted_for(
    tmp_path: Path, arrays: dict[str, Any], expected: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert account("npz", tmp_path / "x.npz").lines()[0] == expected


def test_rows_of_pixels_are_one_channel_after_the_other(tmp_path: Path) -> None:
    x_NHWC = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    rows = x_NHWC.transpose(0, 3, 1, 2).reshape(4, -1)
    for images_ in (rows, x_NHWC.transpose(0, 3, 1, 2), x_NHWC):
        np.savez(tmp_path / "x.npz", train_x=images_, train_y=Y[:4], test_x=images_, test_y=Y[:4])
        splits = load("npz", tmp_path / "x.npz")
        assert np.array_equal(splits.test.read(2), x_NHWC[2])
        told = any("rows of pixels are taken for three" in it for it in splits.account.remarks)
        assert told == (images_.ndim == 2)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": X, "data": X, "y": Y}, "has x and data, both images by their names"),
        (
            {"train_x": X, "train_y": np.eye(8, dtype=int)},
            r"train_y of .* shape \(8, 8\); .*one label",
        ),
        ({"arr_0": X, "arr_1": Y}, "has no array train_x; found arr_0, arr_1"),
        ({"test_x": X, "test_y": Y}, "has no array train_x; found test_x, test_y"),
        (
            {
                "train_x": X,
                "train_y": np.array(["a", "b"] * 4),
                "test_x": X,
                "test_y": np.array(["c"] * 8),
            },
            r"test_x\[0\] of .* is of the class 'c', which no training image has; expected only a, b",
        ),
        ({"train_x": X, "train_y": np.array(["a"] * 8), "test_x": X, "test_y": Y}, "is a number"),
    ],
)
def test_arrays_that_do_not_say_enough_are_refused(
    tmp_path: Path, arrays: dict[str, Any], expected: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=expected):
        load("npz", tmp_path / "x.npz")


def test_labels_never_seen_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_x=X, train_y=np.arange(8) % 3 + 1)
    assert (
        "no images to train on in 1 of 4 classes: 0" in account("npz", tmp_path / "x.npz").remarks
    )
