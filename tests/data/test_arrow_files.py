"""Streams of Arrow give the images and labels that were saved, also those that `datasets` saves."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from odd import image, saved, saved_splits
from PIL import Image
from reading import load


def test_each_image_is_that_of_its_row_whatever_batch_holds_it(tmp_path: Path) -> None:
    path = saved_splits(train=saved(9), test=saved(5))(tmp_path)
    splits = load("arrow", path)
    for folder, part in (("train", splits.train), ("test", splits.test)):
        for index in range(len(part)):
            pixels = np.asarray(Image.open(io.BytesIO(image((str(path / folder), index)))))
            assert np.array_equal(part.read(index), pixels)
            assert part.labels[index] == index % 2
            assert part.name(index) == f"image {index} of {folder}/data-00000-of-00001.arrow"


def test_a_stream_alone_and_a_splits_folder_are_data_sets_too(tmp_path: Path) -> None:
    path = saved_splits(train=saved(9), test=saved(5))(tmp_path)
    for data in (path / "test", path / "test/data-00000-of-00001.arrow"):
        assert load("arrow", data, test_fraction=0.2).account.lines()[0] == (
            "4 images of 2 classes to train on, 1 to test (held out)"
        )


def test_what_datasets_itself_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    for split, count in (("train", 7), ("test", 4)):
        for number in range(count):
            (tmp_path / f"{split}{number}.png").write_bytes(image((split, number)))
    parts = {
        split: datasets.Dataset.from_dict(
            {
                "image": [str(tmp_path / f"{split}{number}.png") for number in range(count)],
                "label": [number % 2 for number in range(count)],
            },
            features=features,
        )
        for split, count in (("train", 7), ("test", 4))
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    splits = load("arrow", tmp_path / "saved")
    assert splits.classes == ("cat", "dog")
    assert splits.account.lines()[0] == (
        "7 images of 2 classes to train on, 4 to test (from test/)"
    )
    pixels = np.asarray(Image.open(io.BytesIO(image(("train", 5)))))
    assert np.array_equal(splits.train.read(5), pixels)
