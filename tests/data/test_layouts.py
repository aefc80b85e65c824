"""Every layout of folders and tars ends in the right account, or in one line that says what is wrong.

What is on disk comes from the table; `account` is the line that `firetree train` prints.
"""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reading import Encode, account, load, tar_of, write, write_tar

from firetree.errors import UserError


def images(*folders: str, each: int = 3) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(each)]


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
