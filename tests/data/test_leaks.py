"""Test images that are training images too are counted, and no more is read for it than is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd import image, images, tree
from reading import Encode, load, write_columns

TRAIN = images({"train/a": 9, "train/b": 9})


def leaks(name: str, path: Path) -> list[str]:
    return [line for line in load(name, path).account.remarks if "training images too" in line]


def test_no_leak_is_no_remark(tmp_path: Path) -> None:
    assert leaks("folder", tree(TRAIN, images({"val/a": 2, "val/b": 2}))(tmp_path)) == []


def test_copies_by_other_names_are_counted(tmp_path: Path) -> None:
    copied = {name.replace("train", "val") + ".png": TRAIN[name] for name in [*TRAIN][:5]}
    assert leaks("folder", tree(TRAIN, copied, images({"val/b": 3}))(tmp_path)) == [
        "5 of 8 test images are training images too, byte for byte, such as val/a/0.png.png "
        "(train/a/0.png); right answers to them show nothing"
    ]


def test_a_held_out_copy_is_one(tmp_path: Path) -> None:
    files = {f"{name}/{number}.png": image(0) for name in "ab" for number in range(5)}
    [told] = leaks("folder", tree(files)(tmp_path))
    assert told.startswith("2 of 2 test images are training images too")


def test_rows_of_parquet_are_compared(tmp_path: Path, encode: Encode) -> None:
    write_columns(tmp_path / "train.parquet", encode, label=[0, 1] * 4)
    write_columns(tmp_path / "test.parquet", encode, label=[0, 1])
    [told] = leaks("parquet", tmp_path)
    assert told.startswith(
        "2 of 2 test images are training images too, byte for byte, such as image"
    )


@pytest.mark.parametrize(
    ("allowed", "told"), [(0, 0), (10_000, 1), (1_000_000, 1)], ids=["none", "some", "all"]
)
def test_of_much_data_some_sizes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, told: int
) -> None:
    files = {f"{'ab'[k % 2]}/{k}.png": image(k, 8 + k) for k in range(12)}
    twice = {f"{split}/{name}": files[name] for split in ("train", "val") for name in files}
    path = tree(twice)(tmp_path)
    monkeypatch.setattr("firetree.data.leaks.COMPARED_BYTES", allowed)
    lines = [line for line in load("folder", path, size=8).account.remarks if "too, byte" in line]
    assert len(lines) == told
    if allowed == 10_000:
        found, of = lines[0].split(" are training")[0].split(" of ")
        assert of == f"{found} test images compared"
        assert 0 < int(found) < 12


def test_parquet_of_unknown_sizes_is_compared_as_a_whole_or_not(
    tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_columns(tmp_path / "train.parquet", encode, label=[0, 1] * 4)
    write_columns(tmp_path / "test.parquet", encode, label=[0, 1])
    monkeypatch.setattr("firetree.data.leaks.COMPARED_BYTES", 1000)
    assert leaks("parquet", tmp_path) == []
