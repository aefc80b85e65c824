"""A CSV and a saved data set are told by their paths, where commands take images of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd import Make, images, lines, saved, saved_splits, table, tree

from firetree.data.by_path import table_at
from firetree.deep_compression.images import read_images
from firetree.prediction.images import find_images

SPLIT = table(lines("dog,train", "cat,train", "dog,val", header="path,label,split"))
SAVED = saved_splits(train=saved(4, names=("cat", "dog")), test=saved(3, names=("cat", "dog")))


@pytest.mark.parametrize(("make", "train", "tested"), [(SPLIT, 2, [1]), (SAVED, 4, [0, 1, 0])])
def test_a_table_is_scored_by_its_test_images_and_gives_its_training_images(
    tmp_path: Path, make: Make, train: int, tested: list[int]
) -> None:
    path = make(tmp_path / "data")
    assert [found.label for found in find_images([path], ["cat", "dog"], print)] == tested
    assert len(read_images(path, print).labels) == train


def test_a_folder_with_some_json_is_none(tmp_path: Path) -> None:
    assert table_at(tree(images({"a": 1}), {"state.json": b"{}"})(tmp_path)) is None
