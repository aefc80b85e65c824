"""Every layout in use ends in the right account, or in one line that says what is wrong.

What is on disk comes from the table; `account` is the line that `firetree train` prints.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reading import Encode, load

from firetree.data.account import Account
from firetree.errors import UserError


def images(*folders: str, each: int = 3) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(each)]


def write(root: Path, names: list[str], encode: Encode) -> Path:
    """Files of these names: images, unless the suffix says otherwise."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"words" if path.suffix in (".txt", ".md", ".bmp2") else encode(number))
    return root


def tar_of(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.add(root, ".")
    return path


def account(name: str, path: Path, **options: Any) -> Account:
    return load(name, path, **options).account


TRAIN = images("train/a", "train/b")
SIX = "6 images of 2 classes to train on"
TREES = [
    (images("a", "b"), "4 images of 2 classes to train on, 2 to test (held out)"),
    *(
        ([*TRAIN, *images(f"{name}/a", f"{name}/b", each=1)], f"{SIX}, 2 to test (from {name}/)")
        for name in (
            *("val", "valid", "validation", "dev", "eval", "test", "testing", "TEST", "Validation"),
            *(
                "val_set",
                "validation_split",
                "test-images",
                "testset",
                "TestSet",
                "val2017",
                "valdata",
            ),
        )
    ),
    *(
        (images(f"{name}/a", f"{name}/b", "val/a", each=3), f"{SIX}, 3 to test (from val/)")
        for name in ("training", "TRAIN", "train_set", "Training-Images", "train2017", "trainset")
    ),
    ([f"data/{name}" for name in (*TRAIN, *images("valid/b"))], f"{SIX}, 3 to test (from valid/)"),
    (
        [f"x/data/{name}" for name in (*TRAIN, *images("val/b"))] + ["x/README.md", "x/docs/a.txt"],
        f"{SIX}, 3 to test (from val/); passed over: 1 .md, 1 .txt",
    ),
    (
        images("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a"),
        f"{SIX}, 3 to test (from seg_test/)",
    ),
    (images("seg_train/a", "seg_train/b", "val/a"), f"{SIX}, 3 to test (from val/)"),
    (
        images("seg_train/a", "seg_train/b", "seg_test/a", "valid/b", each=3),
        f"{SIX}, 3 to test (from valid/)",
    ),
    (images("train/images/a", "train/images/b", "val/images/b"), f"{SIX}, 3 to test (from val/)"),
    (
        [*TRAIN, *images("val/a"), *images("test", each=2), *images("pool/x", each=1)],
        f"{SIX}, 3 to test (from val/); passed over: 2 without a label in test/, 1 in pool/",
    ),
    (
        [*images("a", "b"), "cover.png", "a/notes.txt", "b/old.bmp2", "b/new.bmp2", ".cache/1.png"],
        "4 images of 2 classes to train on, 2 to test (held out); passed over: 2 .bmp2, 1 .txt, "
        "1 hidden, 1 outside class folders",
    ),
    (
        [*images("a", "b"), "__MACOSX/a/._0.png", "a/.DS_Store", "Thumbs.db", "a/README"],
        "4 images of 2 classes to train on, 2 to test (held out); passed over: 2 hidden, 1 .db, "
        "1 without a suffix",
    ),
    (images("bus", "car", "train"), "7 images of 3 classes to train on, 2 to test (held out)"),
    (images("valid", "invalid"), "4 images of 2 classes to train on, 2 to test (held out)"),
    ([*images("a", "b"), *images("val/a")], f"{SIX}, 3 to test (from val/)"),
    (
        images("train_station/old", "train_station/new", "test_tube/x"),
        "7 images of 2 classes to train on, 2 to test (held out)",
    ),
]


@pytest.mark.parametrize(("names", "expected"), TREES)
def test_a_folder_and_a_tar_of_it_have_the_same_account(
    tmp_path: Path, encode: Encode, names: list[str], expected: str
) -> None:
    root = write(tmp_path / "root", names, encode)
    here, packed = account("folder", root), account("tar", tar_of(root, tmp_path / "x.tar"))
    assert here.lines()[0] == expected
    assert packed.lines() == here.lines()
    assert packed.fingerprint == here.fingerprint


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (images("train", "test"), "has test, train, and no train folder with class folders"),
        (images("val/a", "test/a"), "has test, val, and no train folder with class folders"),
        (images("cat", "dog", "test"), "test/ in {root} lies beside class folders and has none"),
        ([*TRAIN, *images("training/a")], "has train/ and training/ for train; expected one"),
        ([*TRAIN, *images("val/a", "valid/a")], "has val/ and valid/ for validation; expected one"),
        (["a/1.txt", "b/2.txt"], "holds no images in class folders"),
        (["a/1.txt", "b/2.txt"], "passed over: 2 .txt"),
        ([*images("a", "b"), "c/1.bmp2"], "class folder 'c' of {root} holds no images"),
        (
            [*TRAIN, *images("val/c")],
            "{root}/val has a class 'c' that train has not; expected only",
        ),
    ],
)
def test_a_tree_that_can_mean_several_things_is_refused(
    tmp_path: Path, encode: Encode, names: list[str], expected: str
) -> None:
    root = write(tmp_path / "root", names, encode)
    with pytest.raises(UserError) as refusal:
        load("folder", root)
    assert expected.format(root=root) in str(refusal.value)


def test_validation_images_are_tested_on_and_test_images_left_alone(
    tmp_path: Path, encode: Encode
) -> None:
    root = write(tmp_path, [*TRAIN, *images("val/a"), *images("test/b", each=2)], encode)
    found = account("folder", root)
    assert (found.test, found.test_from) == (3, "from val/")
    assert "tested on val/ while training; test/ (2 images) is left alone" in found.remarks


def test_a_class_with_the_name_of_a_split_is_said_to_be_one(tmp_path: Path, encode: Encode) -> None:
    found = account("folder", write(tmp_path, images("bus", "car", "train"), encode))
    said = "train/ is taken for a class, not for a split, as it holds no class folders"
    assert said in found.remarks


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the whole path can be too long for a socket's name
        server.bind(path.name)


LINKS: list[tuple[Callable[[Path], object], str]] = [
    (lambda root: link(root / "a/loop", str(root)), "1 repeated folder"),
    (lambda root: link(root / "a/up", ".."), "1 repeated folder"),
    (lambda root: link(root / "a/out", "../.."), "1 repeated folder"),
    (lambda root: link(root / "a/slash", "/"), "1 repeated folder"),
    (lambda root: link(root / "a/sister", "../b"), "1 repeated folder"),
    (lambda root: link(root / "a/itself.png", "itself.png"), "1 broken link"),
    (lambda root: link(root / "a/gone.png", "nothing.png"), "1 broken link"),
    (lambda root: link(root / "a/zero.png", "/dev/zero"), "1 special file"),
    (lambda root: os.mkfifo(root / "a/pipe.png"), "1 special file"),
    (lambda root: bind(root / "a/socket.png"), "1 special file"),
    (lambda root: (root / "a/empty.png").touch(), "1 empty"),
]


@pytest.mark.parametrize(("add", "expected"), LINKS)
def test_what_leads_nowhere_or_is_no_file_is_passed_over_and_never_opened(
    tmp_path: Path,
    encode: Encode,
    add: Callable[[Path], object],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = write(tmp_path / "root", images("a", "b"), encode)
    add(root)
    line = f"4 images of 2 classes to train on, 2 to test (held out); passed over: {expected}"
    assert account("folder", root).lines()[0] == line


def test_a_link_to_a_file_or_folder_elsewhere_is_followed(tmp_path: Path, encode: Encode) -> None:
    pool = write(tmp_path / "pool", images("x", each=4), encode)
    root = write(tmp_path / "root", images("a", each=4), encode)
    link(root / "b", str(pool / "x"))
    link(root / "a/4.png", str(pool / "x/0.png"))
    found = account("folder", root)
    assert found.train + found.test == 9
    assert not found.passed_over


def test_links_in_a_tar_are_the_files_that_they_lead_to(tmp_path: Path, encode: Encode) -> None:
    root = write(tmp_path / "root", images("a", "b"), encode)
    os.link(root / "a/0.png", root / "b/hard.png")
    link(root / "b/soft.png", "../a/1.png")
    link(root / "b/twice.png", "soft.png")
    link(root / "b/gone.png", "../../elsewhere.png")
    path = tar_of(root, tmp_path / "x.tar")
    with tarfile.open(path) as archive:
        assert archive.getmember("./b/soft.png").issym()
    found = load("tar", path, test_fraction=0.01)
    assert found.account.train + found.account.test == 9
    assert found.account.passed_over == {"broken link": 1}
    by_name = {found.train.name(k): found.train.read(k) for k in range(len(found.train))}
    for name, target in (("b/soft.png", "a/1.png"), ("b/twice.png", "a/1.png")):
        if name in by_name and target in by_name:
            assert np.array_equal(by_name[name], by_name[target])


def test_a_later_file_of_a_tar_replaces_an_earlier_one_of_its_name(
    tmp_path: Path, encode: Encode
) -> None:
    path = tmp_path / "x.tar"
    write_tar(
        path, {f"{c}/{k}.png": encode(k) for c in "ab" for k in range(2)}, {"a/0.png": encode(9)}
    )
    found = account("tar", path)
    assert (found.train + found.test, found.passed_over) == (4, {"repeated name": 1})


def write_tar(path: Path, *parts: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in (item for part in parts for item in part.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tbz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".txz", lzma.compress),
        (".tar.zst", zstd),
    ],
)
def test_compressed_shards_are_read_beside_others(
    tmp_path: Path, encode: Encode, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    for shard in range(3):
        keys = [f"{shard}{number}" for number in range(4)]
        files = {f"{key}.png": encode(int(key)) for key in keys} | {
            f"{key}.cls": b"1" for key in keys
        }
        write_tar(tmp_path / f"train-{shard}.tar", files)
    plain = tmp_path / "train-1.tar"
    (tmp_path / f"train-1{suffix}").write_bytes(compress(plain.read_bytes()))
    plain.unlink()
    (tmp_path / "train-2.tar.lzo").write_bytes(b"x")
    found = load("webdataset", tmp_path, size=12)
    assert found.account.train + found.account.test == 12
    assert found.account.passed_over == {".lzo": 1}
    assert sum(found.train.read(k).any() for k in range(len(found.train))) == len(found.train)


def samples(encode: Encode, image: str, label: str, count: int = 4) -> dict[str, bytes]:
    """Images first and labels last, as a tar has them whose names are not sorted."""
    keys = [f"{number:04}" for number in range(count)]
    files = {f"{key}.{image}": encode(k) for k, key in enumerate(keys)}
    return files | {f"{key}.{label}": str(k % 2).encode() for k, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("png", "cls"), ""),
        (("input.png", "target.cls"), ""),
        (("tiff", "cls"), ""),
    ],
)
def test_the_files_of_a_sample_may_be_apart_and_have_two_suffixes(
    tmp_path: Path, encode: Encode, files: tuple[str, str], expected: str
) -> None:
    content = samples(encode, *files)
    content |= {"dataset_info.json": b"{}", "README.md": b"words", "0000.txt": b"words"}
    found = account("webdataset", write_tar(tmp_path / "x.tar", content))
    assert found.train + found.test == 4
    assert found.passed_over == {".json": 1, ".md": 1}


def test_masks_beside_an_input_are_no_images_to_classify(tmp_path: Path, encode: Encode) -> None:
    content = samples(encode, "input.png", "target.cls")
    masks = {f"{k:04}.target.png": encode(k + 50) for k in range(4)}
    found = load("webdataset", write_tar(tmp_path / "x.tar", masks | content))
    assert found.train.name(0).endswith(".input.png of x.tar")


def test_labels_of_shards_may_be_names(tmp_path: Path, encode: Encode) -> None:
    content = {f"{k}.png": encode(k) for k in range(4)}
    content |= {f"{k}.json": json.dumps({"label": "yx"[k % 2]}).encode() for k in range(4)}
    assert load("webdataset", write_tar(tmp_path / "x.tar", content)).classes == ("x", "y")


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


def write_columns(path: Path, encode: Encode, metadata: object = None, **columns: Any) -> Path:
    count = len(next(iter(columns.values())))
    table = pa.table(
        {"image": [{"bytes": encode(k), "path": None} for k in range(count)], **columns}
    )
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


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


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("TIF", "TIFF"),
        ("tiff", "TIFF"),
        ("jfif", "JPEG"),
        ("jpe", "JPEG"),
        ("pgm", "PPM"),
        ("JPG", "JPEG"),
    ],
)
def test_images_of_all_suffixes_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    for name in ("a", "b"):
        for number in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (8, 8), 99).save(tmp_path / f"{name}/{number}.{suffix}", kind)
    found = load("folder", tmp_path)
    assert len(found.train) + len(found.test) == 4
    assert found.train.read(0)[4, 4, 0] == 99


def test_names_that_are_no_utf_8_are_shown_with_escapes(tmp_path: Path, encode: Encode) -> None:
    root = os.fsencode(tmp_path / "root")
    for name in (b"caf\xe9", b"tea\x1b[31m"):
        os.makedirs(os.path.join(root, name))
        for number in range(3):
            with open(os.path.join(root, name, b"%d\xff.png" % number), "wb") as file:
                file.write(encode(number))
    for splits in (
        load("folder", tmp_path / "root"),
        load("tar", tar_of(tmp_path / "root", tmp_path / "x.tar")),
    ):
        assert splits.classes == ("caf\\udce9", "tea\\x1b[31m")
        assert splits.train.read(0).any()
        names = [splits.train.name(k) for k in range(len(splits.train))]
        assert all(name.isprintable() and name.endswith("\\udcff.png") for name in names)
