"""Images for classification, read from disk; sequences with answers and games, made from a seed.

Loaders share them among ranks and make batches.

An epoch on one rank:

    splits = data.load(
        "npz", Path("fashion.npz"), classes=10, size=None, channels=None, test_fraction=0.2, seed=0
    )
    loader = data.Loader(
        splits, batch_size=64, seed=0, rank=0, world_size=1, augmentation=data.Augmentation()
    )
    for batch in loader.training_batches(epoch=0): ...
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Literal, get_args

from firetree.data import arrays
from firetree.data.account import Account
from firetree.data.augmentation import Augmentation
from firetree.data.batches import Batch, Loader
from firetree.data.damaged import DamagedImageError
from firetree.data.images import Dataset, Images
from firetree.data.labels import with_numbers
from firetree.data.order import epoch_steps
from firetree.data.sequences import SequenceLoader, SequenceSplits
from firetree.data.splits import Splits, make_splits
from firetree.errors import UserError, nearest
from firetree.extras import extra

__all__ = [
    "Account",
    "Augmentation",
    "Batch",
    "DamagedImageError",
    "ImageReader",
    "Images",
    "Loader",
    "SequenceLoader",
    "SequenceSplits",
    "Splits",
    "epoch_steps",
    "load",
    "names",
]


ImageReader = Literal["arrow", "csv", "digits", "folder", "npz", "parquet", "tar", "webdataset"]
"""The name of what `load` reads images with."""


def names() -> tuple[str, ...]:
    """The names of all readers that `load` knows."""
    return get_args(ImageReader)


def load(
    name: str,
    path: Path | None,
    *,
    classes: int | None,
    size: int | None,
    channels: int | None,
    test_fraction: float,
    seed: int,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Splits:
    """Read images and their labels, ready for a `Loader`.

    Args:
        name: one of `names()`.
        path: the file or folder to read; None for digits.
        classes: number of classes; None for as many as the training images show.
        size: height and width in pixels; None for the images' own.
        channels: 1 for grey, 3 for colour; None for grey if the data are grey arrays, else colour.
        test_fraction: the share of each class held out, by `seed`, where the data have no test set.
        seed: 0 or more.
        image_column: the column with the images or their paths, where there are columns; None for the only
            possible one.
        label_column: the same for the labels.

    Raises:
        UserError: an unknown name, data that cannot be read, or labels or sizes that do not fit.
    """
    if name not in names():
        raise UserError(f"no data '{name}'{nearest(name, names())}")
    return make_splits(
        with_numbers(_read(name, path, image_column, label_column)),
        classes=classes,
        size=size,
        channels=channels,
        test_fraction=test_fraction,
        seed=seed,
    )


def _check_path(name: str, path: Path) -> None:
    """Refuse pipes and devices before they are opened, since reading from them may never end."""
    kinds = _KINDS.get(name, _ANY)
    expected = " or ".join(kinds)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        pattern = "; patterns are not read, give the folder" if _PATTERN.search(str(path)) else ""
        raise UserError(
            f"data.path = {path} does not exist; expected {expected}{pattern}"
        ) from error
    except OSError as error:
        raise UserError(
            f"data.path = {path} cannot be read: {error.strerror}; expected {expected}"
        ) from error
    is_file = stat.S_ISREG(mode)
    kind = "a folder" if stat.S_ISDIR(mode) else "a file" if is_file else "a pipe or device"
    if kind not in kinds:
        raise UserError(
            f"data.path = {path} is not {expected} but {kind}; give what data.name = {name} reads"
        )


_ANY = ("a file", "a folder")
_KINDS = {"folder": ("a folder",), **dict.fromkeys(("csv", "npz", "tar"), ("a file",))}
_WITH_COLUMNS = ("arrow", "csv", "parquet")
_PATTERN = re.compile(r"[*?{\[]")


def _read(
    name: str, path: Path | None, image_column: str | None, label_column: str | None
) -> Dataset:
    for option, column in (("image_column", image_column), ("label_column", label_column)):
        if column is not None and name not in _WITH_COLUMNS:
            raise UserError(
                f"data.{option} = {column}; only {', '.join(_WITH_COLUMNS)} have columns, leave it out"
            )
    if name == "digits":
        if path is not None:
            raise UserError(f"data.path = {path}; expected none, as digits need no file")
        return arrays.read_digits()
    if path is None:
        raise UserError(f"data.path is missing; expected the file or folder that '{name}' reads")
    _check_path(name, path)
    match name:
        case "npz":
            return arrays.read_npz(path)
        case "folder":
            from firetree.data.trees import read_folder

            return read_folder(path)
        case "tar":
            from firetree.data.trees import read_tar

            return read_tar(path)
        case "webdataset":
            from firetree.data.shards import read_shards

            return read_shards(path)
        case "csv":
            from firetree.data.csv_files import read_csv

            return read_csv(path, image_column, label_column)
        case "arrow":
            with extra("parquet", "read Arrow files"):
                from firetree.data.arrow_files import read_arrow

            return read_arrow(path, image_column, label_column)
        case _:
            with extra("parquet", "read parquet files"):
                from firetree.data.parquet import read_parquet

            return read_parquet(path, image_column, label_column)
