"""Odd data sets: each is trained on with the right remark, or refused in one line.

Odder names, links and folders are in `test_layouts` and `test_odd_trees`, wrong labels in arrays in
`test_refusals`, damaged images in `test_load` and `test_batches`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pytest
from odd import (
    Make,
    arrays,
    copies,
    image,
    images,
    lines,
    plain_jpeg,
    saved,
    saved_splits,
    table,
    then,
    tree,
    with_one,
)
from PIL import Image

from firetree.errors import UserError
from firetree.tasks import ImageData, load_images

X = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
Y = np.arange(12) % 2
PAIR = images({"a": 3, "b": 3})
SPLITS = images({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
TABLE = "path,label\n0.png,cat\n1.png,dog\n2.png,cat\n3.png,dog\n"
QUOTED = ['"{}";"{}"'.format(*row.split(",")) for row in TABLE.splitlines()]
NAMED = "tree\u0301 ü,日本/🌷.png"


def beside(name: str, content: bytes) -> Any:
    return lambda path: (path / name).write_bytes(content)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return image("turned", kind="JPEG", exif=exif)


def animated() -> bytes:
    frames = [Image.new("P", (12, 12), colour) for colour in (1, 2)]
    return image("film", mode="P", kind="GIF", save_all=True, append_images=frames)


def huge(root: Path) -> Path:
    return with_one("a/huge.jpg", plain_jpeg(10_000))(root)


def zipped(root: Path) -> Path:
    with ZipFile(tree(PAIR)(root) / "data.zip", "w") as file:
        file.write(root / "a/0.png", "a/0.png")
    return root / "data.zip"


def as_file(path: Path) -> None:
    """Arrow has another layout for files than for streams."""
    stream = path / "data-00000-of-00001.arrow"
    rows = pa.ipc.open_stream(stream.read_bytes()).read_all()
    with pa.ipc.new_file(str(stream), rows.schema) as file:
        file.write_table(rows)


def cut(path: Path) -> None:
    stream = path / "data-00000-of-00001.arrow"
    stream.write_bytes(stream.read_bytes()[:-900])


TRAINED: dict[str, tuple[str, Make, str | tuple[str, ...]]] = {
    "200, 80, 20, 5 and 1 images": (
        "folder",
        tree(images({"a": 200, "b": 80, "c": 20, "d": 5, "e": 1})),
        (
            "images to train on by class: a: 160, b: 64, c: 16, d: 4, e: 1",
            "no images to test on in 1 of 5 classes: e",
            "one image to train on in 1 of 5 classes: e",
            "65.6% of the test images are of the class a: who always says so has that accuracy",
            "the class a has 160 times the images to train on that e has; each class counts alike only "
            "with optim.class_weights = balanced",
        ),
    ),
    "as many of each": ("folder", tree(images({"a": 5, "b": 5})), "by class: 4 each"),
    "a class missing from val/": (
        "folder",
        tree(SPLITS, images({"train/c": 3})),
        "no images to test on in 1 of 3 classes: c",
    ),
    "only train/": ("folder", tree(images({"train/a": 4, "train/b": 4})), "(held out)"),
    "one image a class": (
        "folder",
        tree(images({f"class {k}": 1 for k in range(10)})),
        "no images to train on in 2 of 10 classes: class",
    ),
    "10,000 classes": (
        "npz",
        arrays(x=np.repeat(X, 2500, 0), y=np.arange(30_000) % 10_000),
        ("of 10,000 classes", "no images to test on in 4,000 of 10,000 classes: "),
    ),
    "1 pixel": ("folder", copies(image("one", 1), "a", "b"), "2 of 2 test images are training"),
    "100 Mpx": ("folder", huge, "of 2 classes"),
    "names with blanks, accents, a flower and a line's end": (
        "folder",
        tree(images({"日本": 4, "a b": 5, "🌷": 6, "new\nline": 8})),
        "by class: new\\x0aline: 6, 🌷: 5, a b: 4, 日本: 3",
    ),
    "names that differ by case": (
        "folder",
        tree(images({"Cat": 4, "cat": 4})),
        "classes that look alike: 'Cat' and 'cat'",
    ),
    "labels from 1": ("npz", arrays(x=X, y=Y + 1), "no images to train on in 1 of 3 classes: 0"),
    "labels 0, 5 and 9": (
        "npz",
        arrays(x=X, y=np.array([0, 5, 9] * 4)),
        "no images to train on in 7 of 10 classes: 1, 2, 3 and 4 more",
    ),
    "channels first": ("npz", arrays(x=X[:, None].repeat(3, 1), y=Y), "10 images of 2 classes"),
    "grey with alpha": ("folder", with_one("a/x.png", image("x", mode="LA")), "of 2 classes"),
    "CMYK": ("folder", with_one("a/x.jpg", image("x", 12, "CMYK", "JPEG")), "of 2 classes"),
    "turned by Exif": ("folder", with_one("a/x.jpg", turned()), "of 2 classes"),
    "an animated GIF": ("folder", with_one("a/x.gif", animated()), "of 2 classes"),
    "WebP": ("folder", with_one("a/x.webp", image("x", kind="WEBP")), "of 2 classes"),
    "a PNG called .jpg": ("folder", with_one("a/x.jpg", image("x")), "of 2 classes"),
    "HEIC": ("folder", with_one("a/x.heic", b"ftypheic"), "passed over: 1 .heic"),
    "a damaged image of 200": (
        "folder",
        with_one("a/x.jpg", image("x", kind="JPEG")[:-60], a=100, b=100),
        "a/x.jpg: image file is truncated",
    ),
    "files of train/ again in val/": (
        "folder",
        tree(SPLITS, {"val/a/copy.png": SPLITS["train/b/2.png"]}),
        "1 of 5 test images are training images too, byte for byte, such as val/a/copy.png "
        "(train/b/2.png)",
    ),
    "equal images only": ("folder", copies(image(0), "a", "b"), "2 of 2 test images are training"),
    "equal arrays": ("npz", arrays(x=X[[0] * 12], y=Y), "2 of 2 test images are training"),
    "one class is nearly all of the test set": (
        "folder",
        tree(SPLITS, images({"val/b": 9})),
        "81.8% of the test images are of the class b",
    ),
    "a CSV with semicolons, quotes, CRLF and a byte order mark": (
        "csv",
        table("\ufeff" + "\r\n".join(QUOTED)),
        "3 images of 2 classes",
    ),
    "a TSV": ("csv", table(TABLE.replace(",", "\t"), name="data.tsv"), "3 images of 2 classes"),
    "a CSV whose paths have blanks, commas and other letters": (
        "csv",
        table(f'{TABLE}"{NAMED}", dog\n', [*"0123", NAMED.removesuffix(".png")]),
        "images to train on by class: 2 each",
    ),
    "a CSV with a column of splits": (
        "csv",
        table(lines("a,train", "b,train", "a,Val", "b,test", "b,", header="path,label,split")),
        (
            "2 images of 2 classes to train on, 1 to test (from split Val); passed over: 1 row without "
            "a split",
            "tested on split Val while training; split test is left alone",
        ),
    ),
    "a CSV with missing files and repeated rows": (
        "csv",
        table(f"{TABLE}0.png,cat\nx/9.png,cat\n8.png,dog\n5.png,\n"),
        (
            "passed over: 2 missing files, 1 repeated row, 1 row without a label",
            "files that are not there: x/9.png, 8.png",
        ),
    ),
    "a CSV with whole numbers": ("csv", table(lines("01", "2.0", 1, 2)), "of 3 classes"),
    "a CSV with a column of masks": (
        "csv",
        table("image,mask,kind\n0.png,1.png,x\n2.png,3.png,y\n4.png,5.png,x\n"),
        (
            "images are those of the column image, not of mask (data.image_column)",
            "labels are those of the column kind (data.label_column)",
        ),
    ),
    "a CSV with commas in the classes' names": (
        "csv",
        table(lines('"hen, brood hen"', "hen", "cock", "cock")),
        "of 3 classes",
    ),
    "datasets on disk": ("arrow", saved(9, names=("x", "y")), "by class: x: 4, y: 3"),
    "datasets on disk, named beside": (
        "arrow",
        saved(9, names=("x", "y"), said_beside=True),
        "by class: x: 4, y: 3",
    ),
    "datasets on disk with splits": (
        "arrow",
        saved_splits(train=saved(), validation=saved(4), test=saved(), extra=saved()),
        (
            "6 images of 2 classes to train on, 4 to test (from validation/); passed over: 1 folder of "
            "no split",
            "tested on validation/ while training; test/ is left alone",
        ),
    ),
    "datasets on disk with the cache of a map": (
        "arrow",
        then(saved(), beside("cache-0.arrow", b"of other columns")),
        "5 images of 2 classes",
    ),
    "datasets on disk with text labels and a test set without": (
        "arrow",
        saved_splits(train=saved(4, label=["cat", "dog"] * 2), test=saved(label=[-1] * 6)),
        "3 images of 2 classes to train on, 1 to test (held out); passed over: 1 Arrow file without "
        "labels",
    ),
}


@pytest.mark.parametrize("odd", TRAINED)
def test_an_odd_data_set_is_trained_on_with_the_right_remark(tmp_path: Path, odd: str) -> None:
    reader, make, told = TRAINED[odd]
    task = load_images(ImageData(reader, path=str(make(tmp_path / "data")), size=8), seed=0)
    loader = task.loader(batch_size=64, seed=0, rank=0, world_size=1)
    first, *_ = batches = [*loader.training_batches(0), *loader.test_batches()]
    assert all(batch.x.isfinite().all() for batch in batches)
    model = task.build({"name": "squeezenet_small", "base_e": 8, "incr_e": 4})
    loss = task.loss(model(first.x), first.y)
    loss.backward()
    assert loss.isfinite()
    said = [*task.account.lines(), *(f"{name}: {why}" for name, why in loader.damaged.items())]
    for each in (told,) if isinstance(told, str) else told:
        assert any(each in line for line in said), said


FLOATS = X.astype(np.float32)
HOLED = FLOATS / 255
HOLED[3, 4, 5] = np.nan


REFUSED: dict[str, tuple[str, Make, str]] = {
    "one class": ("folder", tree(images({"a": 4})), "all images are of one class, a; expected two"),
    "5,000 images in one folder": (
        "folder",
        tree({f"{number}.png": b"x" for number in range(5000)}),
        "holds no images in class folders; expected CLASS/IMAGE .*passed over: 5,000 outside class",
    ),
    "a zip for a folder": ("folder", zipped, "is not a folder but a file"),
    "a zip for a tar": ("tar", zipped, "is a zip archive; unpack it"),
    "arrays from 0 to 1": (
        "npz",
        arrays(x=FLOATS / 255, y=Y),
        "x of .* is float32; expected uint8",
    ),
    "float arrays": ("npz", arrays(x=FLOATS, y=Y), "x of .* is float32; expected uint8 from 0 to"),
    "NaN": ("npz", arrays(x=HOLED, y=Y), "x of .* is float32; expected uint8"),
    "measured values": (
        "csv",
        table(lines(3, 3.7, 2)),
        r"label 3.7 in line 3 of .*expected whole numbers or names of classes",
    ),
    "several labels in a cell": (
        "csv",
        table(lines("cat", "cat;dog")),
        r"line 3 of .* gives 1.png several labels, cat;dog; expected one class",
    ),
    "a JSON list": ("csv", table(lines('"[""cat"", ""dog""]"')), "several labels, .*cat"),
    "numbers for each class": ("csv", table(lines("0 1 0", "1 0 0")), "several labels, 0 1 0"),
    "classes with commas": (
        "csv",
        table(lines("cat", '"cat,dog"', "dog")),
        "several labels, cat,dog",
    ),
    "several rows an image": (
        "csv",
        table(f"{TABLE}0.png,dog\n"),
        "line 6 of .* gives 0.png several labels, cat in line 2 and dog",
    ),
    "a column a class": (
        "csv",
        table(lines("1,0", "0,1", header="path,cat,dog")),
        "choose by data.label_column among cat, dog",
    ),
    "two columns of images": (
        "csv",
        table("left,right,label\n0.png,1.png,x\n2.png,3.png,y\n"),
        "has the columns left, right, label; expected .*; choose by data.image_column among left, right",
    ),
    "no header": ("csv", table(TABLE.partition("\n")[2]), "has no header but starts with 0.png"),
    "a header alone": (
        "csv",
        table("path,label\n"),
        "no line follows a header; expected a CSV or TSV",
    ),
    "one column": ("csv", table("path\n0.png\n"), "has the one column 'path'"),
    "a row too long": ("csv", table(f"{TABLE}4.png,a,b\n"), "line 6 has 3 cells, and the header 2"),
    "an open quote": ("csv", table(f'{TABLE}"4.png,a\n'), "cannot read .*; expected a CSV"),
    "UTF-16": ("csv", table(TABLE.encode("utf-16")), "is not in UTF-8; save it as UTF-8"),
    "a web page for a CSV": ("csv", table("<!doctype html>\n<p>\n"), "is a web page"),
    "other paths": (
        "csv",
        table(TABLE, ()),
        "no image to train on; passed over: 4 missing files; expected paths that start at its folder, "
        "as in 0.png",
    ),
    "an unknown split": (
        "csv",
        table(lines("a,train", "b,later", header="path,label,split")),
        "has the split 'later'; expected train, val or test",
    ),
    "lists of labels on disk": (
        "arrow",
        saved(label=[[0, 1]] * 6),
        r"the column label of .* is list<.*several values an image; expected one label",
    ),
    "two columns of images on disk": (
        "arrow",
        saved(2, image=None, left=[b"x", b"y"], right=[b"x", b"y"], label=[0, 1]),
        "choose by data.image_column among left, right",
    ),
    "no split to train on": (
        "arrow",
        saved_splits(test=saved(), validation=saved()),
        "has the splits test, validation; expected one to train on",
    ),
    "a label that is missing": ("arrow", saved(label=[0, None] * 3), "image 1 of .* has no label"),
    "an Arrow file": (
        "arrow",
        then(saved(), as_file),
        "is an Arrow file; expected what save_to_disk",
    ),
    "a stream that is cut off": ("arrow", then(saved(), cut), "cannot read .*expected what"),
    "no Arrow": ("arrow", tree(PAIR), "holds no Arrow file to train on"),
}


@pytest.mark.parametrize("odd", REFUSED)
def test_an_odd_data_set_is_refused_in_one_line(tmp_path: Path, odd: str) -> None:
    reader, make, told = REFUSED[odd]
    with pytest.raises(UserError, match=told) as refusal:
        load_images(ImageData(reader, path=str(make(tmp_path / "data")), size=8), seed=0)
    assert "\n" not in str(refusal.value)
