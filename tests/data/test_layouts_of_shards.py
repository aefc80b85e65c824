"""Every layout of shards ends in the right account."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from reading import Encode, account, load, write_tar


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
