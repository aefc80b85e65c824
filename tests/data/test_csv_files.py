"""A table's paths, labels and splits are read as they stand in it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from odd import image, lines, table
from PIL import Image
from reading import load

from firetree.errors import UserError

SIX = lines("cat,7,train", "dog,8,train", "cat,9,test", "dog,7,test", header="path,label,id,split")


def test_each_image_has_the_label_of_its_row(tmp_path: Path) -> None:
    splits = load("csv", table(SIX)(tmp_path / "x"))
    for part, expected in ((splits.train, "01"), (splits.test, "23")):
        assert [part.name(index) for index in range(len(part))] == [f"{it}.png" for it in expected]
        for index, number in enumerate(expected):
            pixels = np.asarray(Image.open(io.BytesIO(image(number))))
            assert np.array_equal(part.read(index), pixels)
        assert [splits.classes[label] for label in part.labels] == ["cat", "dog"]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_make_no_difference(tmp_path: Path, sign: str, end: str) -> None:
    path = table(SIX.replace(",", sign).replace("\n", end).encode())(tmp_path / "x")
    assert load("csv", path).account.lines()[0] == (
        "2 images of 2 classes to train on, 2 to test (from split test)"
    )


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    text = "left,right,kind,shade\n0.png,1.png,x,dark\n2.png,3.png,y,light\n4.png,5.png,x,light\n"
    path = table(text)(tmp_path / "x")
    splits = load("csv", path, image_column="right", label_column="shade", test_fraction=0.1)
    assert splits.classes == ("dark", "light")
    assert {splits.train.name(0), splits.train.name(1), splits.test.name(0)} == {
        "1.png",
        "3.png",
        "5.png",
    }
    with pytest.raises(UserError, match=r"expected data\.label_column = hue"):
        load("csv", path, image_column="right", label_column="hue")


def test_a_column_called_split_may_be_the_label(tmp_path: Path) -> None:
    path = table(lines("train", "bus", "train", "bus", header="path,split"))(tmp_path / "x")
    assert load("csv", path, label_column="split").classes == ("bus", "train")


def test_paths_start_at_the_tables_folder_or_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(lines("a", "b"))(tmp_path / "x")
    path.write_text(f"{path.read_text()}\n{path.parent / '2.png'},a\n../x/3.png,b\n")
    monkeypatch.chdir("/")
    account = load("csv", path).account
    assert (account.train, account.test, account.passed_over) == (3, 1, {})
