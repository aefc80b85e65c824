"""Trees of images as people have them beside what is meant: each is read, remarked on, or refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from reading import Encode, Write, load, tree_of

from firetree.errors import UserError


def complaint(name: str, path: Path) -> str:
    with pytest.raises(UserError) as refusal:
        load(name, path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    "folder", ["lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", "@eaDir"]
)
def test_folders_of_other_systems_are_no_classes(
    write_folder: Write, write_tar: Write, encode: Encode, folder: str
) -> None:
    files = tree_of(encode, "a", "b") | {f"{folder}/x.png": encode(0)}
    root = write_folder(files)
    (root / "a/lost+found").mkdir(exist_ok=True)
    for found in (load("folder", root), load("tar", write_tar(files))):
        assert found.classes == ("a", "b")
        assert found.account.passed_over["hidden"] >= 1


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("cat/train", "cat/test", "dog/train", "dog/test"), "/test/ and "),
        (("images/train/a", "images/val/a", "masks/train/a"), "/train/ and "),
    ],
)
def test_splits_within_classes_are_refused(
    write_folder: Write, encode: Encode, folders: tuple[str, ...], named: str
) -> None:
    text = complaint("folder", write_folder(tree_of(encode, *folders)))
    assert "has splits within its class folders" in text
    assert named in text


@pytest.mark.parametrize(
    ("folders", "remark"),
    [
        (
            ("animals/cat", "animals/dog", "cars/bus"),
            "such as animals/cat/, are of the class: 9 of",
        ),
        (("cat", "cat/white", "dog"), "such as cat/white/, are of the class: 3 of 9"),
        (("amazon/images/mug", "dslr/images/mug"), "amazon/images/mug/, are of the class: 6 of 6"),
    ],
)
def test_folders_within_classes_are_remarked_on(
    write_folder: Write, encode: Encode, folders: tuple[str, ...], remark: str
) -> None:
    found = load("folder", write_folder(tree_of(encode, *folders))).account.remarks
    assert any(remark in line for line in found)


def test_a_folder_of_images_within_a_class_needs_no_remark(
    write_folder: Write, encode: Encode
) -> None:
    files = tree_of(encode, "train/a/images", "train/b/images", "val/images")
    account = load("folder", write_folder(files)).account
    assert account.lines()[0].endswith("(held out); passed over: 3 without a label in val/")
    assert not any("class:" in line for line in account.remarks)


def test_a_train_folder_without_classes_is_no_class_called_images(
    write_folder: Write, encode: Encode
) -> None:
    files = {**tree_of(encode, "train/images", "val/images"), "labels.csv": b"0.png,1"}
    text = complaint("folder", write_folder(files))
    assert "has train, val, and no train folder with class folders" in text
    assert text.endswith("passed over: 1 .csv")


def test_a_folder_that_is_no_split_is_not_said_to_lack_labels(
    write_folder: Write, encode: Encode
) -> None:
    files = tree_of(encode, "train/a", "train/b", "test/a", "train_augmented/a")
    passed_over = load("folder", write_folder(files)).account.passed_over
    assert passed_over == {"in train_augmented/": 3}


def test_a_split_without_another_is_said_to_be_trained_on(
    write_folder: Write, encode: Encode
) -> None:
    root = write_folder(tree_of(encode, "val/a", "val/b"))
    remark = "val/ is the only split; it is trained on, and a share of it held out"
    assert remark in load("folder", root).account.remarks
    assert remark not in load("folder", root / "val").account.remarks


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301' looks like 'caf\xe9', but is another name"),
        ("Cat", "cat", "'cat' looks like 'Cat', but is another name"),
        ("cat", "cat ", "'cat ' looks like 'cat', but is another name"),
    ],
)
def test_names_that_look_alike_are_told_apart(
    write_folder: Write, encode: Encode, ours: str, theirs: str, told: str
) -> None:
    root = write_folder(tree_of(encode, f"train/{ours}", "train/x", f"test/{theirs}"))
    assert complaint("folder", root).endswith(told)
    (root / "test").rename(root / "train/test")
    (root / "train/test" / theirs).rename(root / "train" / theirs)
    (root / "train/test").rmdir()
    remarks = load("folder", root).account.remarks
    assert any(line.startswith("classes that look alike: ") for line in remarks)


def test_classes_beyond_the_named_ones_have_names_of_their_own(
    write_folder: Write, encode: Encode
) -> None:
    root = write_folder(tree_of(encode, "0", "1", "3"))
    assert load("folder", root, classes=5).classes == ("0", "1", "3", "class 3", "4")


def test_an_empty_folder_beside_classes_is_refused_with_what_to_do(
    write_folder: Write, encode: Encode
) -> None:
    root = write_folder(tree_of(encode, "food/images/a", "food/images/b"))
    (root / "food/meta").mkdir()
    assert "or give data.path of a folder with class folders alone" in complaint("folder", root)


@pytest.mark.parametrize("name", ["arrow", "csv", "folder", "npz", "parquet", "tar", "webdataset"])
def test_pipes_devices_and_sockets_are_never_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            assert "but a pipe or device" in complaint(name, path)


@pytest.mark.parametrize(
    ("name", "path", "told"),
    [
        ("npz", "folder", "is not a file but a folder; give what data.name = npz reads"),
        ("tar", "folder", "is not a file but a folder; give what data.name = tar reads"),
        ("folder", "file", "is not a folder but a file; give what data.name = folder reads"),
        ("webdataset", "x-{0..9}.tar", "does not exist; .*patterns are not read, give the folder"),
        ("npz", "x" * 300, "cannot be read: File name too long"),
        ("npz", "loop", "cannot be read: Too many levels of symbolic links"),
        ("npz", "file/within", "does not exist"),
    ],
)
def test_paths_that_cannot_be_read_say_why(tmp_path: Path, name: str, path: str, told: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=told):
        load(name, tmp_path / path)


FOREIGN = {
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "a web page": b"\n<!doctype HTML><html>",
    "HDF5, as Keras": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c" + bytes(600),
    "a RAR archive": b"Rar!" + bytes(600),
    "IDX, as MNIST": b"\0\0\x08\x03" + bytes(600),
    "a NumPy array alone": b"\x93NUMPY" + bytes(600),
    "a pickle, which is never loaded": b"\x80\x04" + bytes(600),
}


@pytest.mark.parametrize("name", ["arrow", "npz", "parquet", "tar", "webdataset"])
@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_is_named_by_what_it_is(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / "train"
    path.write_bytes(FOREIGN[what])
    assert f"{path} is {what}" in complaint(name, path)


def test_a_image_is_named_by_what_it_is(write_folder: Write) -> None:
    pointer = FOREIGN["a pointer of Git LFS"]
    text = complaint("folder", write_folder({"a/0.png": pointer, "b/1.png": pointer}))
    assert "(a/0.png: a pointer of Git LFS, not the file itself; run git lfs pull)" in text
