"""Every reader gives the images that are stored, and says which of them are damaged."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reading import Encode, Write, load, tree_of

from firetree import data
from firetree.data import DamagedImageError
from firetree.errors import UserError


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def name_and_label(images: data.Images) -> list[tuple[str, int]]:
    return [(images.name(index), int(label)) for index, label in enumerate(images.labels)]


def test_digits_need_no_file() -> None:
    splits = load("digits", test_fraction=0.2)
    assert (len(splits.train), len(splits.test), splits.size, splits.channels) == (1438, 359, 8, 1)
    assert splits.classes == tuple("0123456789")
    assert max(splits.train.read(index).max() for index in range(50)) == 255


def test_npz_gives_its_arrays_as_they_are(write_npz: Write) -> None:
    path = write_npz()
    splits, stored = load("npz", path), np.load(path)
    assert (splits.size, splits.channels, splits.classes) == (8, 1, ("0", "1", "2"))
    assert np.array_equal(splits.train.read(7)[:, :, 0], stored["train_x"][7])
    assert np.array_equal(splits.test.labels, stored["test_y"])
    assert splits.test.name(3) == "test_x[3] of data.npz"


def test_npz_may_name_its_arrays_as_keras_does(write_npz: Write, tmp_path: Path) -> None:
    stored = np.load(write_npz())
    renamed = {f"{key[-1]}_{key[:-2]}": stored[key] for key in stored.files}
    assert sorted(renamed) == ["x_test", "x_train", "y_test", "y_train"]
    np.savez(tmp_path / "mnist.npz", **renamed)
    splits = load("npz", tmp_path / "mnist.npz")
    assert (len(splits.train), len(splits.test)) == (12, 4)


def test_colour_arrays_keep_their_channels(write_npz: Write) -> None:
    grey = np.load(write_npz())
    colour = {key: grey[key][..., None].repeat(3, 3) for key in ("train_x", "test_x")}
    assert load("npz", write_npz(**colour)).channels == 3


def test_mean_and_deviation_are_those_of_the_training_images(write_npz: Write) -> None:
    path = write_npz()
    splits, x = load("npz", path), np.load(path)["train_x"] / 255
    assert splits.mean == pytest.approx((x.mean(),))
    assert splits.std == pytest.approx((x.std(),))


def test_images_of_one_value_have_a_deviation_to_divide_by(write_npz: Write) -> None:
    assert load("npz", write_npz(train_x=np.zeros((12, 8, 8), np.uint8))).std[0] > 0


def test_npz_without_a_test_set_has_one_held_out(write_npz: Write) -> None:
    path = write_npz(test_x=None, test_y=None)
    splits = load("npz", path)
    names = [part.name(i) for part in (splits.train, splits.test) for i in range(len(part))]
    assert (len(splits.train), len(splits.test)) == (9, 3)
    assert sorted(names) == sorted(f"train_x[{index}] of data.npz" for index in range(12))


def test_the_held_out_set_is_a_view_with_its_own_labels(write_npz: Write) -> None:
    path = write_npz(test_x=None, test_y=None)
    test, stored = load("npz", path).test, np.load(path)
    for index, label in enumerate(test.labels):
        row = int(test.name(index).split("[")[1].split("]")[0])
        assert np.array_equal(test.read(index)[:, :, 0], stored["train_x"][row])
        assert label == stored["train_y"][row]


@pytest.mark.parametrize("wrapper", ["", "flowers/", "./flowers/"])
def test_a_tar_holds_a_folder_a_class(write_tar: Write, encode: Encode, wrapper: str) -> None:
    files = tree_of(encode, "tulip", "daisy")
    splits = load("tar", write_tar({wrapper + name: files[name] for name in files}))
    assert splits.classes == ("daisy", "tulip")
    assert len(splits.train) + len(splits.test) == 6
    for index in range(len(splits.train)):
        name = splits.train.name(index)[len(wrapper.removeprefix("./")) :]
        assert np.array_equal(splits.train.read(index), pixels(files[name]))
        assert splits.classes[splits.train.labels[index]] == name.split("/")[0]


def test_a_folder_gives_the_same_as_a_tar_of_it(
    write_tar: Write, write_folder: Write, encode: Encode
) -> None:
    files = tree_of(encode, "tulip", "daisy")
    ours, theirs = load("folder", write_folder(files)), load("tar", write_tar(files))
    assert name_and_label(ours.train) == name_and_label(theirs.train)
    assert name_and_label(ours.test) == name_and_label(theirs.test)


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders_are_the_two_splits(
    write_folder: Write, encode: Encode, test_name: str
) -> None:
    files = tree_of(encode, "train/a", "train/b", "train/c", f"{test_name}/b", each=1)
    splits = load("folder", write_folder(files))
    assert splits.classes == ("a", "b", "c")
    assert name_and_label(splits.train) == [
        ("train/a/0.png", 0),
        ("train/b/0.png", 1),
        ("train/c/0.png", 2),
    ]
    assert name_and_label(splits.test) == [(f"{test_name}/b/0.png", 1)]


@pytest.mark.parametrize("unlabelled", ["test/0.png", "test/readme.txt"])
@pytest.mark.parametrize("labelled", [("val/b",), ()])
def test_a_test_folder_without_class_folders_is_passed_over(
    write_folder: Write, encode: Encode, unlabelled: str, labelled: tuple[str, ...]
) -> None:
    files = tree_of(encode, "train/a", "train/b", *labelled) | {unlabelled: encode()}
    splits = load("folder", write_folder(files))
    names = [name for name, _ in name_and_label(splits.test)]
    assert all(name.startswith("val/b/" if labelled else "train/") for name in names)


def test_hidden_files_and_other_suffixes_are_no_images(write_folder: Write, encode: Encode) -> None:
    others = {"a/.hidden.png": b"", ".git/x.png": b"", "a/notes.txt": b"", "b/._0.png": b""}
    splits = load("folder", write_folder({**tree_of(encode, "a", "b", each=1), **others}))
    assert len(splits.train) + len(splits.test) == 2


def test_members_of_a_tar_can_be_read_by_many_threads(write_tar: Write, encode: Encode) -> None:
    train = load("tar", write_tar(tree_of(encode, "a", "b", each=20))).train
    alone = [train.read(index) for index in range(len(train))]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train.read, list(range(len(train))) * 5))
    assert all(np.array_equal(x, alone[i % len(alone)]) for i, x in enumerate(together))


def test_parquet_files_of_a_folder_are_one_data_set(write_parquet: Write, encode: Encode) -> None:
    contents = [encode(value) for value in range(7)]
    write_parquet(contents[:4], "train-0000.parquet")
    write_parquet(contents[4:6], "train-0001.parquet")
    splits = load("parquet", write_parquet(contents[6:], "validation-0000.parquet").parent)
    assert [splits.train.name(index) for index in (3, 4)] == [
        "image 3 of train-0000.parquet",
        "image 0 of train-0001.parquet",
    ]
    assert splits.train.labels.tolist() == [0, 1, 2, 0, 0, 1]
    for index, content in enumerate(contents[:6]):
        assert np.array_equal(splits.train.read(index), pixels(content))
    assert np.array_equal(splits.test.read(0), pixels(contents[6]))


def test_a_large_parquet_file_is_read_in_parts(
    tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firetree.data.tables.CACHE_BYTES", 1)
    contents = [encode(value, 64, 64) for value in range(200)]
    images = pa.array([{"bytes": content, "path": None} for content in contents])
    table = pa.table({"image": images, "label": pa.array([0, 1] * 100)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    del images, table
    before = pa.total_allocated_bytes()
    splits = load("parquet", tmp_path / "x.parquet", size=32)
    row = {splits.train.name(index): index for index in range(len(splits.train))}
    whole = load("parquet", tmp_path / "x.parquet").train
    for index in range(len(whole)):
        number = int(whole.name(index).split()[1])
        assert np.array_equal(whole.read(index), pixels(contents[number]))
    assert row.keys() == {whole.name(index) for index in range(len(whole))}
    assert pa.total_allocated_bytes() - before < sum(map(len, contents)) / 3


def test_images_read_once_are_kept_while_all_of_them_are_few(
    write_folder: Write, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_folder(tree_of(encode, "a", "b"))
    for limit, kept in ((10_000, True), (100, False)):
        monkeypatch.setattr("firetree.data.images.KEPT_BYTES", limit)
        train = load("folder", path).train
        first = [train.read(index) for index in range(len(train))]
        moved = path.with_name("moved")
        path.rename(moved)
        x_BHWC, damaged = train.read_batch(np.arange(len(train)))
        moved.rename(path)
        assert len(damaged) == (0 if kept else len(train))
        assert not kept or np.array_equal(x_BHWC, np.stack(first))


def test_validation_files_are_tested_on_and_test_files_left_alone(
    write_parquet: Write, encode: Encode
) -> None:
    for split in ("train", "test", "validation"):
        path = write_parquet([encode()] * 3, f"{split}-0000.parquet")
    splits = load("parquet", path.parent)
    assert splits.test.name(0) == "image 0 of validation-0000.parquet"
    left = "tested on validation-0000.parquet while training; test-0000.parquet is left alone"
    assert left in splits.account.remarks


def test_a_single_parquet_file_has_a_test_set_held_out(
    write_parquet: Write, encode: Encode
) -> None:
    splits = load("parquet", write_parquet([encode()] * 8))
    assert (len(splits.train), len(splits.test)) == (6, 2)


def test_the_label_may_be_the_only_integer_column(tmp_path: Path, encode: Encode) -> None:
    images = pa.array([{"bytes": encode(), "path": None}] * 4)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"photo": images, "fine": pa.array([0, 1, 1, 0])}), path)
    assert load("parquet", path).classes == ("0", "1")


def test_images_are_scaled_by_the_shorter_edge_and_cut_to_the_centre(
    write_folder: Write,
) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    path = write_folder({"a/0.png": file.getvalue(), "b/0.png": file.getvalue()})
    x = load("folder", path, size=10).train.read(0)
    scaled = Image.fromarray(wide).resize((30, 10), Image.Resampling.BILINEAR)
    assert np.array_equal(x, scaled.crop((10, 0, 20, 10)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 8, 16])
def test_arrays_come_in_the_size_and_colour_asked_for(
    write_npz: Write, size: int, channels: int
) -> None:
    splits = load("npz", write_npz(), size=size, channels=channels)
    assert splits.train.read(0).shape == (size, size, channels)
    assert splits.train.read_batch(np.arange(2))[0].shape == (2, size, size, channels)
    assert len(splits.mean) == channels


def test_images_of_16_bits_keep_their_greys(write_folder: Write) -> None:
    ramp = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    path = write_folder({"a/0.png": file.getvalue(), "b/0.png": file.getvalue()})
    assert np.array_equal(load("folder", path, channels=1).train.read(0)[:, :, 0], ramp >> 8)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.float32])
def test_pixels_of_other_widths_are_refused_and_not_cut(write_folder: Write, kind: type) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 200, kind)).save(file, "TIFF")
    path = write_folder({"a/0.tif": file.getvalue(), "b/0.tif": file.getvalue()})
    with pytest.raises(UserError, match=r"pixels; expected 8 or 16 bits a pixel\)"):
        load("folder", path, size=8)


READ = """
import sys
from firetree.data.decoding import decode
print(decode(sys.stdin.buffer.read()).size)
"""


def test_a_large_image_is_read_without_a_word_of_its_library() -> None:
    file = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(file, "PNG")
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, input=file.getvalue(), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"(10000, 9000)\n", b"")


def test_classes_given_beyond_the_named_ones_are_numbers(
    write_folder: Write, encode: Encode
) -> None:
    path = write_folder(tree_of(encode, "a", "b"))
    assert load("folder", path, classes=4).classes == ("a", "b", "2", "3")


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda encode: encode(1, kind="JPEG")[:-60], "truncated"),
        (lambda encode: encode(1)[:-60], "truncated"),
        (lambda encode: b"no image at all", "none of JPEG, PNG"),
        (lambda encode: b"", "empty"),
        (lambda encode: bomb(), "decompression bomb"),
        (lambda encode: None, "no bytes"),
    ],
    ids=["cut JPEG", "cut PNG", "text", "empty", "bomb", "null"],
)
def test_a_damaged_image_is_named_by_its_reason(
    write_parquet: Write, encode: Encode, damage: Callable[[Encode], bytes | None], reason: str
) -> None:
    write_parquet([encode(), damage(encode), encode()])
    train = load("parquet", write_parquet([encode()] * 3, "test-0000.parquet").parent).train
    with pytest.raises(DamagedImageError, match=reason):
        train.read(1)
    assert np.array_equal(train.read(2), pixels(encode()))


def test_a_file_that_has_gone_is_a_damaged_image(
    write_folder: Write, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firetree.data.images.KEPT_BYTES", 0)
    path = write_folder(tree_of(encode, "train/a", "test/a"))
    train = load("folder", path).train
    (path / "train/a/1.png").unlink()
    with pytest.raises(DamagedImageError, match="No such file"):
        train.read(1)


@pytest.mark.parametrize(
    ("name", "file", "options", "expected"),
    [
        ("npz", "fashion.npz", {}, (60_000, 10_000, 10, 28, 1)),
        ("parquet", "cifar10", {}, (50_000, 10_000, 10, 32, 3)),
        ("tar", "flowers/flowers.tar", {"size": 64}, (3238, 1079, 5, 64, 3)),
        (
            "parquet",
            "imagenet_sample/validation-00000-of-00001.parquet",
            {"size": 64, "classes": 1000},
            (188, 62, 1000, 64, 3),
        ),
    ],
)
def test_published_data_sets_are_read(
    shared: Callable[[str], Path],
    name: str,
    file: str,
    options: dict[str, int],
    expected: tuple[int, ...],
) -> None:
    splits = load(name, shared(file), **options)
    found = (len(splits.train), len(splits.test), len(splits.classes), splits.size)
    assert (*found, splits.channels) == expected
