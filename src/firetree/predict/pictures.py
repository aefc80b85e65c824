"""The pictures that a prediction is for: files, folders of them, tars and parquets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from firetree.data import trees
from firetree.data.decoding import SUFFIXES, DamagedPictureError, decode
from firetree.data.pictures import Dataset, Stored
from firetree.errors import UserError


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is decoded when it is needed; `label` is its class's place among the model's."""

    name: str
    image: Callable[[], Image.Image]
    """Raises DamagedPictureError."""
    label: int | None = None


def find_pictures(paths: Sequence[Path], class_names: Sequence[str] | None = None) -> list[Picture]:
    """All pictures of files, folders and what lies below them, tars and parquets, in order.

    A parquet's pictures have labels, which are numbers of the model's classes.

    Args:
        class_names: the model's, where a tar's pictures need labels too. Of a tar with train/ and val/
            (or test/), or a folder of such parquets, these are then the latter's alone, as no score on
            what a model learned from says how good it is. A class is known by its folder's name; where the model has none of
            these names, folders in the order of their names are its classes.

    Raises:
        UserError: no such path, one without pictures, none at all, or a tar of other classes.
    """
    if not paths:
        raise UserError("no pictures named; expected files, folders, a tar or a parquet")
    return [picture for path in paths for picture in _below(path, class_names)]


def _below(path: Path, class_names: Sequence[str] | None) -> list[Picture]:
    if not path.exists():
        raise UserError(f"no file or folder {path}; expected pictures")
    scored_whole = class_names is not None and any(path.glob("train-*.parquet"))
    if path.is_dir() and not scored_whole:
        pictures = [found for file in _walk(path) for found in _below(file, class_names)]
        if not pictures:
            raise UserError(f"{path} holds no pictures; expected {' '.join(SUFFIXES)}")
        return pictures
    if path.suffix == ".parquet" or scored_whole:
        from firetree.data import parquet  # pyarrow takes a while to import

        held = parquet.read_parquet(path)
        return _numbered(path, held.test or held.train, class_names)
    if path.suffix == ".tar":
        return _of_tar(path, trees.read_tar(path), class_names)
    return [Picture(str(path), lambda: _read(path))]


def _numbered(path: Path, stored: Stored, class_names: Sequence[str] | None) -> list[Picture]:
    """Pictures whose labels are numbers of the model's classes."""
    labels = stored.labels.tolist()
    if class_names is not None and not all(0 <= label < len(class_names) for label in labels):
        raise UserError(
            f"{path} has labels from {min(labels)} to {max(labels)}; expected 0 to "
            f"{len(class_names) - 1}, the model's classes"
        )
    return _pictures(stored, labels)


def _of_tar(path: Path, held: Dataset, class_names: Sequence[str] | None) -> list[Picture]:
    if class_names is None:
        parts = [held.train] if held.test is None else [held.train, held.test]
        return [found for part in parts for found in _pictures(part, [None] * len(part.labels))]
    stored, numbers = held.test or held.train, _numbers(path, held.classes, class_names)
    return _pictures(stored, [numbers[label] for label in stored.labels.tolist()])


def _numbers(path: Path, classes: Sequence[str], class_names: Sequence[str]) -> Sequence[int]:
    """Where each of the classes of a tar stands among the model's."""
    unknown = sorted({*classes} - {*class_names})
    if not unknown:
        return [class_names.index(name) for name in classes]
    if len(unknown) == len(classes) == len(class_names):
        return range(len(classes))
    raise UserError(
        f"{path} has {len(classes)} classes, and of these the model does not know '{unknown[0]}'; "
        f"expected names of its classes, or {len(class_names)} folders in their order"
    )


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith((*SUFFIXES, ".parquet")) and name[0] != ".":
                yield Path(parent, name)


def _pictures(stored: Stored, labels: Sequence[int | None]) -> list[Picture]:
    def opener(index: int) -> Callable[[], Image.Image]:
        return lambda: stored.image(index, None)

    return [Picture(stored.name(k), opener(k), label) for k, label in enumerate(labels)]


def _read(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DamagedPictureError(error.strerror or str(error)) from error
