"""Every layout of parquet files ends in the right account, or in one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import Encode, account, load, write, write_columns

from firetree.errors import UserError


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-00000-of-00001-a1b2.parquet", "data/test-00000-of-00001-a1b2.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("default/train/0000.parquet", "default/validation/0000.parquet"),
        ("train.parquet", "valid.parquet"),
        ("plain_text/train-0.parquet", "plain_text/val-0.parquet"),
    ],
)
def test_the_folders_of_hugging_face_are_read(
    tmp_path: Path, encode: Encode, train: str, test: str
) -> None:
    for name, count in ((train, 6), (test, 3)):
        write_columns(tmp_path / name, encode, label=[k % 3 for k in range(count)])
    write(tmp_path, ["README.md"], encode)
    assert account("parquet", tmp_path).lines()[0] == (
        f"6 images of 3 classes to train on, 3 to test (from {test}); passed over: 1 .md"
    )


def test_several_data_sets_in_one_folder_are_refused(tmp_path: Path, encode: Encode) -> None:
    for name in ("fine/train/0.parquet", "coarse/train/0.parquet"):
        write_columns(tmp_path / name, encode, label=[0, 1])
    with pytest.raises(UserError, match="files to train on in coarse, fine; expected one data set"):
        load("parquet", tmp_path)


def test_files_of_no_split_beside_those_of_one_are_counted(tmp_path: Path, encode: Encode) -> None:
    for name in ("train-0.parquet", "extra.parquet"):
        write_columns(tmp_path / name, encode, label=[0, 1, 1, 0])
    assert account("parquet", tmp_path).passed_over == {"parquet file of no split": 1}


NAMES = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


@pytest.mark.parametrize(
    ("columns", "options", "classes"),
    [
        ({"label": ["dog", "cat"] * 2}, {}, ("cat", "dog")),
        ({"label": pa.array(["dog", "cat"] * 2).dictionary_encode()}, {}, ("cat", "dog")),
        ({"labels": [0, 1, 0, 1], "id": [7, 8, 9, 10]}, {}, ("0", "1")),
        ({"label": pa.array(["dog", "cat"] * 2, pa.string_view())}, {}, ("cat", "dog")),
        ({"image_id": [7, 8, 9, 10], "kind": ["b", "a"] * 2}, {}, ("a", "b")),
        ({"label": [0.0, 1.0, 0.0, 1.0]}, {}, ("0", "1")),
        ({"label": [True, False, True, False]}, {}, ("0", "1")),
        ({"label": [0, 1, 0, 1], "metadata": NAMES}, {}, ("cat", "dog")),
        (
            {"fine_label": [0, 1, 2, 0], "coarse_label": [0, 1, 0, 1]},
            {"label_column": "fine_label"},
            ("0", "1", "2"),
        ),
        ({"label": [0, 1, 0, 1], "kind": ["b", "a"] * 2}, {"label_column": "kind"}, ("a", "b")),
    ],
)
def test_labels_of_any_type_and_name_are_read(
    tmp_path: Path,
    encode: Encode,
    columns: dict[str, Any],
    options: dict[str, str],
    classes: tuple[str, ...],
) -> None:
    assert (
        load("parquet", write_columns(tmp_path / "x.parquet", encode, **columns), **options).classes
        == classes
    )


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (
            {"fine_label": [0, 1], "coarse_label": [0, 1]},
            {},
            "choose by data.label_column among fine_label, coarse_label",
        ),
        ({"label": [0, 1]}, {"label_column": "kind"}, "expected data.label_column = kind"),
        ({"label": [0, 1]}, {"label_column": "image"}, "expected data.label_column = image"),
        (
            {"labels": [[0, 1], [1]], "id": [0, 1]},
            {},
            "the column labels of .* is list<.*one label",
        ),
        (
            {"label": [0, 1], "image2": [b"x", b"y"]},
            {"image_column": "label"},
            "the column label of .* is int64; expected encoded images",
        ),
        ({"label": ["a", None]}, {}, "image 1 of .* has no label"),
        ({"image_id": [0, 1]}, {}, "has the columns image_id: int64; expected a column label"),
    ],
)
def test_columns_that_do_not_say_enough_are_refused_with_the_option_that_chooses(
    tmp_path: Path, encode: Encode, columns: dict[str, Any], options: dict[str, str], expected: str
) -> None:
    path = write_columns(tmp_path / "x.parquet", encode, **columns)
    with pytest.raises(UserError, match=expected):
        load("parquet", path, **options)


def classes_in(*names: str) -> object:
    return {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}


def test_files_may_number_the_same_classes_in_another_order(tmp_path: Path, encode: Encode) -> None:
    for name, order in (("train-0", "xyz"), ("train-1", "zyx"), ("test", "yzx")):
        path = tmp_path / f"{name}.parquet"
        write_columns(path, encode, classes_in(*order), label=[order.index("x"), order.index("y")])
    splits = load("parquet", tmp_path)
    assert splits.train.labels.tolist() == [0, 1, 0, 1]
    assert splits.test.labels.tolist() == [0, 1]


def test_a_class_that_only_another_files_metadata_has_is_refused(
    tmp_path: Path, encode: Encode
) -> None:
    for name, order in (("train", "xy"), ("test", "xz")):
        write_columns(tmp_path / f"{name}.parquet", encode, classes_in(*order), label=[0, 1])
    with pytest.raises(UserError, match=r"test\.parquet has a class 'z'.*expected only x, y"):
        load("parquet", tmp_path)


def test_images_may_be_a_column_of_bytes(tmp_path: Path, encode: Encode) -> None:
    table = pa.table({"jpg": [encode(k) for k in range(4)], "cls": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    found = load("parquet", tmp_path / "x.parquet")
    assert found.train.read(0).any()
    assert "labels are those of the column cls (data.label_column)" in found.account.remarks


def test_a_test_set_without_labels_is_passed_over(tmp_path: Path, encode: Encode) -> None:
    write_columns(tmp_path / "train.parquet", encode, label=[0, 1] * 4)
    write_columns(tmp_path / "test.parquet", encode, label=[-1] * 4)
    assert account("parquet", tmp_path).lines()[0] == (
        "6 images of 2 classes to train on, 2 to test (held out); "
        "passed over: 1 parquet file without labels"
    )


def test_files_without_rows_are_told_from_those_without_labels(
    tmp_path: Path, encode: Encode
) -> None:
    write_columns(tmp_path / "train-0.parquet", encode, label=[0, 1] * 4)
    table = pq.read_table(tmp_path / "train-0.parquet").slice(0, 0)
    for name in ("train-1", "val"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    write_columns(tmp_path / "test.parquet", encode, label=[0, 1])
    found = account("parquet", tmp_path)
    assert found.lines()[0] == (
        "6 images of 2 classes to train on, 2 to test (held out); "
        "passed over: 2 parquet files without rows"
    )
    assert not any("left alone" in remark for remark in found.remarks)
