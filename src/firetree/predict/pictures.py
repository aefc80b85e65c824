"""The pictures that a prediction is for: files, folders of them, tars and parquets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from firetree.data import trees
from firetree.data.decoding import DamagedPictureError, decode
from firetree.data.pictures import Stored
from firetree.errors import UserError


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is decoded when it is needed; `label` is its class, where that is known."""

    name: str
    image: Callable[[], Image.Image]
    """Raises DamagedPictureError."""
    label: int | None = None


def find_pictures(paths: Sequence[Path]) -> list[Picture]:
    """All pictures of files, folders and what lies below them, tars and parquets, in order.

    Labels come with parquets and tars.

    Raises:
        UserError: no such path, one without pictures, or none at all.
    """
    if not paths:
        raise UserError("no pictures named; expected files, folders, a tar or a parquet")
    return [picture for path in paths for picture in _below(path)]


def _below(path: Path) -> list[Picture]:
    if not path.exists():
        raise UserError(f"no file or folder {path}; expected pictures")
    if path.is_dir():
        pictures = [found for file in _walk(path) for found in _below(file)]
        if not pictures:
            raise UserError(f"{path} holds no pictures; expected {' '.join(trees.SUFFIXES)}")
        return pictures
    if path.suffix == ".parquet":
        from firetree.data import parquet  # pyarrow takes a while to import

        return _labelled(parquet.read_parquet(path).train)
    if path.suffix == ".tar":
        return _labelled(trees.read_tar(path).train)
    return [Picture(str(path), lambda: _read(path))]


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith((*trees.SUFFIXES, ".parquet")) and name[0] != ".":
                yield Path(parent, name)


def _labelled(stored: Stored) -> list[Picture]:
    def opener(index: int) -> Callable[[], Image.Image]:
        return lambda: stored.image(index, None)

    labels = stored.labels.tolist()
    return [Picture(stored.name(k), opener(k), label) for k, label in enumerate(labels)]


def _read(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DamagedPictureError(error.strerror or str(error)) from error
