"""Images in Hugging Face datasets as `save_to_disk` leaves them: Arrow streams, and JSON about them.

The files are mapped, so an image is read from the disk when it is needed; see `tables`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firetree.data.account import HELD_OUT, left_alone
from firetree.data.arrow_columns import Columns, find_columns
from firetree.data.images import Dataset
from firetree.data.split_files import SplitFiles, split_files
from firetree.data.split_names import Split, split_of, tested_on
from firetree.data.tables import (
    ImageTable,
    RowGroup,
    dataset_of,
    encoded_images,
    features_of,
    table_of,
)
from firetree.errors import UserError
from firetree.foreign import reading
from firetree.output import printable

_KIND = "Arrow file"
_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def read_arrow(
    path: Path, image_column: str | None = None, label_column: str | None = None
) -> Dataset:
    """Read the folder of a Dataset or DatasetDict, or other streams whose names say their split.

    Labels are numbers or names; the description of the columns may name the numbers. A test set without
    labels is passed over.

    Raises:
        UserError: no such files, unreadable ones, or columns that are missing, of a wrong type, or to be
            chosen among by `image_column` and `label_column`.
    """

    def opened(file: Path) -> ImageTable:
        return _opened(file, image_column, label_column)

    return dataset_of(path, _files(path), _KIND, opened)


def _files(path: Path) -> SplitFiles:
    if (path / _SPLITS).is_file():
        return _files_of_splits(path)
    if (path / _STATE).is_file():
        return SplitFiles(_files_of_dataset(path))
    return split_files(path, (".arrow",), _KIND)


def _files_of_splits(path: Path) -> SplitFiles:
    """Those of a DatasetDict, which has a folder for each split."""
    names_of: defaultdict[Split | None, list[str]] = defaultdict(list)
    with _reading(path / _SPLITS):
        for name in _json(path / _SPLITS)["splits"]:
            names_of[split_of(name)].append(Path(name).name)
    shown = {split: printable(", ".join(names)) for split, names in names_of.items()}
    if "train" not in names_of:
        raise UserError(
            f"{path} has the splits {', '.join(shown.values())}; expected one to train on, such as train, "
            "or data.path of a split's folder"
        )
    for split, names in names_of.items():
        if split and len(names) > 1:
            raise UserError(
                f"{path} has {shown[split]} for {split}; expected one, or data.path of a split's folder"
            )
    tested = tested_on(names_of)
    unused = tested == "validation" and "test" in names_of
    return SplitFiles(
        _files_of_dataset(path / names_of["train"][0]),
        _files_of_dataset(path / names_of[tested][0]) if tested else [],
        f"from {shown[tested]}/" if tested else HELD_OUT,
        {"folder of no split": len(names_of[None])} if None in names_of else {},
        left_alone=(left_alone(f"{shown['validation']}/", f"{shown['test']}/"),) if unused else (),
    )


def _files_of_dataset(folder: Path) -> list[Path]:
    with _reading(folder / _STATE):
        state = _json(folder / _STATE)
        if state.get("_indices_data_files"):
            raise UserError(
                f"{folder} was saved by an old version of datasets, with its order in a file of its own; "
                "save it again by a new one"
            )
        files = [folder / Path(file["filename"]).name for file in state["_data_files"]]
        if not files:
            raise ValueError("it names no files")
        return files


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, "what save_to_disk of datasets writes")


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _opened(path: Path, image_column: str | None, label_column: str | None) -> ImageTable:
    with _reading(path):
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        columns = find_columns(table.schema, path, image_column, label_column, True)
        table.select([columns.image, columns.label]).validate(full=True)
        groups = [_group(column, columns) for column in table[columns.image].chunks]
        features = features_of(table.schema) or _features_beside(path)
        return table_of(path, groups, columns, table[columns.label], features, True)


def _group(column: pa.Array, columns: Columns) -> RowGroup:
    sizes = pc.fill_null(pc.binary_length(encoded_images(column, columns)), 0)
    return RowGroup(
        len(column),
        column.nbytes,
        partial(encoded_images, column, columns),
        sizes.to_numpy(zero_copy_only=False),
    )


def _features_beside(path: Path) -> Any:
    info = path.with_name(_INFO)
    return _json(info).get("features") if info.is_file() else None
