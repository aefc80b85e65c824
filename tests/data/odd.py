"""Make small odd data sets: each function gives one that writes its files into a folder."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

Make = Callable[[Path], Path]
"""Write into a new folder; what comes back is the data's path."""


def image(what: object, size: int = 12, mode: str = "RGB", kind: str = "PNG", **save: Any) -> bytes:
    """An image file with pixels of its own for each `what`."""
    rng = np.random.default_rng(zlib.crc32(repr(what).encode()))
    file = io.BytesIO()
    pixels = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
    pixels.convert(mode).save(file, kind, **save)
    return file.getvalue()


def plain_jpeg(size: int) -> bytes:
    """A large grey image in few bytes."""
    file = io.BytesIO()
    Image.new("L", (size, size), 99).save(file, "JPEG")
    return file.getvalue()


def images(counts: Mapping[str, int]) -> dict[str, bytes]:
    """So many images in each folder, all different."""
    return {
        f"{folder}/{number}.png": image((folder, number))
        for folder, count in counts.items()
        for number in range(count)
    }


def tree(*parts: Mapping[str, bytes]) -> Make:
    def make(root: Path) -> Path:
        for name, content in (item for part in parts for item in part.items()):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    return make


def copies(content: bytes, *folders: str) -> Make:
    """Four equal images in each folder."""
    return tree({f"{folder}/{number}.png": content for folder in folders for number in range(4)})


def with_one(name: str, content: bytes, **counts: int) -> Make:
    """Usual images, and one that is odd."""
    return tree(images(counts or {"a": 4, "b": 4}), {name: content})


def arrays(**named: Any) -> Make:
    def make(root: Path) -> Path:
        root.mkdir()
        np.savez(root / "data.npz", **named)
        return root / "data.npz"

    return make


def table(
    text: str | bytes, files: Iterable[str] = tuple("012345"), name: str = "data.csv"
) -> Make:
    """A CSV beside PNGs of these names, without a suffix in `files`."""

    def make(root: Path) -> Path:
        root.mkdir()
        tree({f"{file}.png": image(file) for file in files})(root)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return root / name

    return make


def lines(*labels: object, header: str = "path,label") -> str:
    """A table whose rows name 0.png, 1.png, …"""
    return "\n".join([header, *(f"{number}.png,{label}" for number, label in enumerate(labels))])


def saved(count: int = 6, names: Iterable[str] = (), said_beside: bool = False, **own: Any) -> Make:
    """What `Dataset.save_to_disk` leaves; `own` are other columns, or others than usual."""

    def make(root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        encoded = [{"bytes": image((str(root), k)), "path": None} for k in range(count)]
        usual = {"image": encoded, "label": [k % 2 for k in range(count)]}
        kept = {name: it for name, it in {**usual, **own}.items() if it is not None}
        features = {"label": {"names": [*names], "_type": "ClassLabel"}} if names else {}
        columns = pa.table(kept)
        if features and not said_beside:
            about = {"huggingface": json.dumps({"info": {"features": features}})}
            columns = columns.replace_schema_metadata(about)
        with pa.ipc.new_stream(str(root / "data-00000-of-00001.arrow"), columns.schema) as stream:
            stream.write_table(columns, max_chunksize=4)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (root / "state.json").write_text(json.dumps(state))
        (root / "dataset_info.json").write_text(json.dumps({"features": features}))
        return root

    return make


def saved_splits(**splits: Make) -> Make:
    """What `DatasetDict.save_to_disk` leaves."""

    def make(root: Path) -> Path:
        for name, one in splits.items():
            one(root / name)
        (root / "dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
        return root

    return make


def then(make: Make, *more: Callable[[Path], object]) -> Make:
    """The same, and what else is done to its path."""

    def made(root: Path) -> Path:
        path = make(root)
        for change in more:
            change(path)
        return path

    return made
