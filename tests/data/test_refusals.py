"""Data that cannot be used end in one line: what is wrong, what was expected, what to do."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import Encode, Write, load, tree_of

from firetree.errors import UserError


def complaint(name: str, path: Path | None = None, **options: Any) -> str:
    with pytest.raises(UserError) as failure:
        load(name, path, **options)
    text = str(failure.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["arrow", "csv", "folder", "npz", "parquet", "tar", "webdataset"])
def test_a_reader_of_files_asks_for_data_path(name: str, tmp_path: Path) -> None:
    assert "data.path is missing" in complaint(name)
    missing = tmp_path / "nothing"
    assert f"data.path = {missing} does not exist" in complaint(name, missing)


def test_digits_refuse_a_path(tmp_path: Path) -> None:
    assert "digits need no file" in complaint("digits", tmp_path)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    assert complaint("parket") == "no data 'parket'; did you mean 'parquet'?"


@pytest.mark.parametrize("name", ["npz", "parquet", "tar"])
@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused_by_its_name(
    name: str, cut: float, write_npz: Write, write_parquet: Write, write_tar: Write, encode: Encode
) -> None:
    path = {
        "npz": lambda: write_npz(),
        "parquet": lambda: write_parquet([encode()] * 4),
        "tar": lambda: write_tar(tree_of(encode, "a", "b", each=9)),
    }[name]()
    content = path.read_bytes()
    # A tar ends in up to 10 kB of zeros, which may be missing; the cut is in what comes before.
    whole = len(content.rstrip(b"\0")) if name == "tar" else len(content)
    path.write_bytes(content[: int(cut * whole) if cut < 1 else int(cut)])
    assert str(path) in complaint(name, path)


@pytest.mark.parametrize("name", ["npz", "parquet", "tar"])
def test_a_file_of_another_kind_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"not what it is said to be\n" * 100)
    assert str(path) in complaint(name, path)


@pytest.mark.parametrize("name", ["npz", "tar"])
def test_a_folder_is_not_taken_for_a_file(name: str, tmp_path: Path) -> None:
    assert str(tmp_path) in complaint(name, tmp_path)


def test_a_file_is_not_taken_for_a_folder(write_npz: Write) -> None:
    assert "is not a folder" in complaint("folder", write_npz())


def test_an_npz_header_that_asks_for_any_amount_of_memory_is_refused(write_npz: Write) -> None:
    path = write_npz()
    true, false = b"(12, 8, 8), }" + b" " * 20, b"(12" + b"0" * 20 + b", 8, 8), }"
    content = path.read_bytes()
    assert true in content
    path.write_bytes(content.replace(true, false))
    assert str(path) in complaint("npz", path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_that_is_cut_off_is_refused(
    write_tar: Write, encode: Encode, compress: Callable[[bytes], bytes]
) -> None:
    path = write_tar(tree_of(encode, "a", "b"))
    path.write_bytes(compress(path.read_bytes())[:-20])
    assert f"cannot read {path}" in complaint("tar", path)


def test_a_tar_with_a_damaged_header_is_refused(write_tar: Write, encode: Encode) -> None:
    path = write_tar(tree_of(encode, "a", "b"))
    content = bytearray(path.read_bytes())
    content[content.index(b"b/1.png")] ^= 1
    path.write_bytes(content)
    assert "damaged or cut off at byte" in complaint("tar", path)


def test_a_parquet_file_damaged_inside_is_refused(write_parquet: Write, encode: Encode) -> None:
    path = write_parquet([encode(value) for value in range(9)])
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    assert str(path) in complaint("parquet", path)


ZEROS = np.zeros((12, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"train_x": None}, "no array train_x"),
        ({"train_y": None}, "no array train_y"),
        ({"test_y": None}, "no array test_y"),
        ({"train_x": ZEROS.astype(float)}, "train_x of .* is float64; expected uint8"),
        ({"train_x": ZEROS[0]}, "train_x of .* has shape"),
        ({"train_x": np.zeros((12, 8, 8, 4), np.uint8)}, "train_x of .* has shape"),
        ({"train_x": np.zeros((12, 0, 0), np.uint8)}, "train_x of .* has shape"),
        ({"train_x": ZEROS[:11]}, r"train_y of .* has shape \(12,\); expected \(11,\)"),
        ({"train_y": np.zeros((12, 2), int)}, r"train_y of .* has shape \(12, 2\); .*one label"),
        ({"test_x": ZEROS[:4, :7]}, r"test_x of .* \(7, 8, 1\); expected \(8, 8, 1\)"),
        ({"train_x": ZEROS[:0], "train_y": np.zeros(0, int)}, "hold no images"),
        ({"test_x": ZEROS[:0], "test_y": np.zeros(0, int)}, "hold no images"),
        ({"train_y": np.array([None] * 12)}, "arrays of objects, which are never unpickled"),
        ({"train_x": ZEROS[:, :6], "test_x": ZEROS[:4, :6]}, "8x6 pixels.*give data.size"),
    ],
)
def test_wrong_arrays_are_refused(
    write_npz: Write, arrays: dict[str, object], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        load("npz", write_npz(**arrays))


def labels(dtype: type = int, count: int = 12, **changed: float) -> np.ndarray:
    array = np.zeros(count, dtype)
    for index, label in changed.items():
        array[int(index.removeprefix("at"))] = label
    return array


@pytest.mark.parametrize(
    ("arrays", "classes", "expected"),
    [
        ({"train_y": labels(at5=7)}, 7, "label 7 .*of image 5 .*from 0 to 6"),
        ({"test_y": labels(count=4, at2=7)}, 7, "label 7 .*of image 2 .*from 0 to 6"),
        ({"train_y": labels(at5=-1)}, None, "label -1 .*of image 5 .*from 0 to"),
        ({"train_y": labels(at5=-1)}, 7, "label -1 .*of image 5 .*from 0 to 6"),
        ({"train_y": labels(at5=12)}, None, "label 12 .*of image 5 .*from 0 to 11"),
        ({"test_y": labels(count=4, at3=3)}, None, "label 3 .*of image 3 .*from 0 to 2"),
        ({"test_y": labels(count=4, at3=-3)}, None, "label -3 .*of image 3 .*from 0 to 2"),
        ({"train_y": labels(float, at0=0.5)}, None, r"label 0.5 \(float64\) of image 0"),
        ({"train_y": labels(float, at3=np.nan)}, None, r"label nan \(float64\) of image 3"),
        ({"test_y": labels(float, 4, at2=np.inf)}, None, r"label inf \(float64\) of image 2"),
        ({"train_y": labels(np.uint64, at1=2**63)}, None, "label 9223372036854775808 .*image 1"),
    ],
)
def test_a_label_out_of_range_is_named_with_its_image_and_the_range(
    write_npz: Write, arrays: dict[str, object], classes: int | None, expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        load("npz", write_npz(**arrays), classes=classes)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": [0, 1]}, "expected one column image"),
        ({"img": ["a", "b"], "label": [0, 1]}, "expected one column image"),
        ({"img": [{"bytes": b""}] * 2}, "expected a column label"),
        (
            {"img": [{"bytes": b""}] * 2, "label": [0.5, 1.0], "id": [0, 1]},
            r"label 0.5 \(float64\)",
        ),
        ({"img": [{"bytes": b""}] * 2, "coarse": [0, 1], "fine": [0, 1]}, "coarse: int64"),
        ({"img": [{"bytes": b""}] * 2, "label": [0, None]}, "image 1 of .* has no label"),
    ],
)
def test_wrong_columns_are_refused(
    tmp_path: Path, columns: dict[str, list[Any]], expected: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=expected):
        load("parquet", tmp_path / "x.parquet")


def test_a_folder_without_parquet_files_for_training_is_refused(
    write_parquet: Write, encode: Encode
) -> None:
    path = write_parquet([encode()], "validation-0000.parquet").parent
    assert "no parquet file to train on, such as train-*.parquet" in complaint("parquet", path)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ((), "no images in class folders"),
        (("a/.hidden",), "no images in class folders"),
        (("train/a", "train/b", "test/c"), "a class 'c' that train has not; expected only a, b"),
    ],
)
def test_a_tree_without_the_right_classes_is_refused(
    write_folder: Write, encode: Encode, tmp_path: Path, folders: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "tree").mkdir()
    assert expected in complaint("folder", write_folder(tree_of(encode, *folders)))


def test_a_class_folder_without_images_is_refused(write_folder: Write, encode: Encode) -> None:
    path = write_folder({**tree_of(encode, "a", "b"), "c/notes.txt": b""})
    assert "class folder 'c'" in complaint("folder", path)


def test_more_class_folders_than_classes_are_refused(write_folder: Write, encode: Encode) -> None:
    path = write_folder(tree_of(encode, "a", "b"))
    text = complaint("folder", path, classes=1)
    assert "label 1 (int64) of image 3 (b/0.png); expected an integer from 0 to 0" in text


def test_different_sizes_need_data_size(write_folder: Write, encode: Encode) -> None:
    path = write_folder({"a/0.png": encode(), "b/0.png": encode(0, 20, 16)})
    text = complaint("folder", path)
    assert "b/0.png is 20x16 pixels and a/0.png 12x12" in text
    assert "give data.size" in text
    assert load("folder", path, size=12).size == 12


def test_one_image_cannot_be_trained_on_and_held_out(write_folder: Write, encode: Encode) -> None:
    assert "expected at least 2" in complaint("folder", write_folder({"a/0.png": encode()}))


@pytest.mark.parametrize("size", [None, 8])
def test_data_of_damaged_images_only_are_refused(write_folder: Write, size: int | None) -> None:
    path = write_folder({f"a/{number}.png": b"damaged" for number in range(4)})
    assert "none of the images can be decoded (a/" in complaint("folder", path, size=size)
