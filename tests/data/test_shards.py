"""Shards in WebDataset's layout: every sample is found, read by itself, and has its label."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reading import Encode, load

from firetree.errors import UserError

WriteShard = Callable[[str, Mapping[str, bytes]], Path]


@pytest.fixture
def write_shard(tmp_path: Path) -> WriteShard:
    """A tar of this name with these files, in a folder for shards."""

    def write(name: str, files: Mapping[str, bytes]) -> Path:
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "shards" / name, "w") as archive:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return tmp_path / "shards"

    return write


def samples(encode: Encode, first: int, count: int) -> dict[str, bytes]:
    """Sample k has image k and label k % 3, by turns in a .cls and in a .json."""
    files = {}
    for number in range(first, first + count):
        files[f"folder/{number:06}.jpg"] = encode(number, kind="JPEG")
        if number % 2:
            files[f"folder/{number:06}.cls"] = f"{number % 3}\n".encode()
        else:
            files[f"folder/{number:06}.json"] = json.dumps({"label": number % 3}).encode()
    return files


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_samples_of_all_shards_are_one_data_set(write_shard: WriteShard, encode: Encode) -> None:
    write_shard("flowers-train-000000.tar", samples(encode, 0, 4))
    write_shard("flowers-train-000001.tar", samples(encode, 4, 3))
    splits = load("webdataset", write_shard("flowers-val-000000.tar", samples(encode, 9, 2)))
    assert (len(splits.train), len(splits.test)) == (7, 2)
    assert splits.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert splits.train.name(4) == "folder/000004.jpg of flowers-train-000001.tar"
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(splits.train.read, [6, 2, 5, 0, 4, 1, 3]))
    for number, x_HWC in zip([6, 2, 5, 0, 4, 1, 3], read, strict=True):
        assert np.abs(x_HWC - pixels(encode(number, kind="JPEG")).astype(int)).max() <= 2


@pytest.mark.parametrize(
    "name",
    ["flowers.val.000.tar", "dev_0.tar", "0-eval.tar", "valid/0.tar", "data/Validation/0.tar"],
)
def test_shards_to_test_on_have_any_usual_name(
    write_shard: WriteShard, encode: Encode, name: str
) -> None:
    (write_shard("0.tar", samples(encode, 0, 4)) / name).parent.mkdir(parents=True, exist_ok=True)
    splits = load("webdataset", write_shard(name, samples(encode, 9, 2)))
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert splits.account.test_from == f"from {name}"


def test_shards_without_a_test_set_have_one_held_out(
    write_shard: WriteShard, encode: Encode
) -> None:
    path = write_shard("000000.tar", samples(encode, 0, 8))
    for source in (path, path / "000000.tar"):
        splits = load("webdataset", source)
        assert (len(splits.train), len(splits.test)) == (6, 2)


def test_other_files_of_a_sample_are_passed_over(write_shard: WriteShard, encode: Encode) -> None:
    files = {}
    for key in ("a", "b"):
        files |= {f"{key}.seg.png": b"mask", f"{key}.png": encode(), f"{key}.cls": b"1"}
        files |= {f"{key}.txt": b"words", f"._{key}.png": b"a Mac was here"}
    splits = load("webdataset", write_shard("0.tar", files))
    assert len(splits.train) + len(splits.test) == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.cls": b"1"}, "a of .*0.tar has 0 images; expected one with one of .jpg"),
        ({"a.png": b"", "a.jpg": b"", "a.cls": b"1"}, "has 2 images"),
        ({"a.png": b""}, "a of .*0.tar has no label; expected KEY.cls or KEY.json"),
        (
            {"a.png": b"", "a.cls": b"a\nb"},
            "the label of a of .*0.tar is .a.*b.; expected a whole number",
        ),
        ({"a.png": b"", "a.cls": b"\xff"}, "the label of a of .*0.tar is .*utf-8"),
        (
            {"a.png": b"1", "a.cls": b"1", "b.png": b"1", "b.cls": b"rose"},
            "label 1 of a.png of 0.tar",
        ),
        ({"a.png": b"1", "a.json": b"[" * 100_000}, "a of .*0.tar.json is nested too deeply"),
        (
            {"a.png": b"", "a.cls": b"9" * 20},
            "the label of a of .*0.tar is 9{20}; expected a whole",
        ),
        (
            {"a.png": b"", "a.json": b'{"label": -9223372036854775809}'},
            "the label of a of .*0.tar is",
        ),
        ({"a.png": b"", "a.json": b"{}"}, "of a of .*0.tar is not there: the file has noth"),
        (
            {"a.png": b"", "a.json": b'{"class": 1, "id": 2}'},
            "is not there: the file has 'class', 'id'",
        ),
        ({"a.png": b"", "a.json": b"[1]"}, "is not there: the file has no table"),
        *(
            ({"a.png": b"", "a.cls": label}, "the label of a of .*0.tar is '.*', several labels")
            for label in (b"1 2", b"3,4", b"[0, 1]", b"-1;2", b"1\n2\n")
        ),
        (
            {"v1.0.png": b"1", "v1.1.png": b"1", "v1.0.cls": b"1"},
            "v1 of .* has 2 images .*; expected one .* and a key without dots",
        ),
        ({"a.png": b"", "a.json": b'{"label": 1.5}'}, "the label of a of .*0.tar is 1.5"),
        ({"a.png": b"", "a.json": b"[1"}, "the label of a of .*0.tar is "),
        ({}, "hold no images"),
    ],
)
def test_samples_that_are_not_whole_are_refused(
    write_shard: WriteShard, files: dict[str, bytes], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as refusal:
        load("webdataset", write_shard("0.tar", files))
    assert "\n" not in str(refusal.value)


def test_a_folder_without_shards_to_train_on_is_refused(
    write_shard: WriteShard, encode: Encode, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", write_shard("test-0.tar", samples(encode, 0, 2))):
        with pytest.raises(UserError, match="holds no shard to train on"):
            load("webdataset", path)


def test_a_shard_that_is_cut_off_is_refused_by_its_name(
    write_shard: WriteShard, encode: Encode
) -> None:
    path = write_shard("0.tar", samples(encode, 0, 8)) / "0.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=f"cannot read {path}"):
        load("webdataset", path)


def test_labels_may_be_whole_floats(write_shard: WriteShard, encode: Encode) -> None:
    files = {f"{k}.png": encode(k) for k in range(12)}
    files |= {f"{k}.cls": f"{k}.0\n".encode() for k in range(0, 12, 2)}
    files |= {f"{k}.json": b'{"label": %d.0}' % k for k in range(1, 12, 2)}
    assert load("webdataset", write_shard("0.tar", files)).classes == tuple(map(str, range(12)))


def test_shards_without_samples_are_refused_with_what_they_hold(write_shard: WriteShard) -> None:
    with pytest.raises(UserError, match=r"no images to train on; passed over: 2 \.tar"):
        load("webdataset", write_shard("0.tar", {"a.tar": b"1", "b.tar": b"1"}))
