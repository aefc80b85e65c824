"""Load with the usual options, and files of images to load."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from firetree import data
from firetree.data import Splits
from firetree.data.account import Account

Encode = Callable[..., bytes]
Write = Callable[..., Path]


def load(name: str, path: Path | None = None, **options: Any) -> Splits:
    usual = {"classes": None, "size": None, "channels": None, "test_fraction": 0.25, "seed": 0}
    return data.load(name, path, **{**usual, **options})


def tree_of(encode: Encode, *folders: str, each: int = 3) -> dict[str, bytes]:
    return {
        f"{folder}/{number}.png": encode(number + 10 * place)
        for place, folder in enumerate(folders)
        for number in range(each)
    }


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


def write_tar(path: Path, *parts: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in (item for part in parts for item in part.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


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
