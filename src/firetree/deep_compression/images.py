"""Images to measure and retrain a model with; they need no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from firetree.data import trees
from firetree.data.account import counts_as_text
from firetree.data.by_path import table_at
from firetree.data.damaged import DamagedImageError
from firetree.data.images import Stored
from firetree.data.tars import TARS
from firetree.errors import UserError
from firetree.modelfiles import Preprocessing
from firetree.progress import Progress, log

CALIBRATION_IMAGES = 48


def read_images(path: str | Path, progress: Progress) -> Stored:
    """The training images of a folder or tar of classes, of a table (`table_at`), or of a parquet.

    Raises:
        UserError: no such path, or no images there.
    """
    path = Path(path)
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"no file or folder {path}; expected images")
    if (table := table_at(path)) is not None:
        dataset = table
    elif path.is_dir():
        dataset = trees.read_folder(path)
    elif path.name.lower().endswith(TARS):
        dataset = trees.read_tar(path)
    else:
        from firetree.data import parquet  # pyarrow takes a while to import

        dataset = parquet.read_parquet(path, needs_labels=False)
    if any(dataset.passed_over.values()):
        progress(f"passed over: {counts_as_text(dataset.passed_over)}")
    return dataset.train


def inputs_of(
    preprocessing: Preprocessing, stored: Stored, count: int, seed: int, progress: Progress = log
) -> Tensor:
    """x_BCHW of up to `count` images drawn at random; `progress` is told how many cannot be decoded.

    Raises:
        UserError: none of them can be decoded.
    """
    drawn = np.random.default_rng(seed).permutation(len(stored.labels))[:count]
    images = []
    for index in drawn.tolist():
        try:
            images.append(preprocessing.apply(stored.image(index, None)))
        except DamagedImageError:
            continue
    if damaged := len(drawn) - len(images):
        progress(f"passed over: {damaged} of {len(drawn)} images, which cannot be decoded")
    if not images:
        raise UserError("none of the images to calibrate with can be decoded")
    return preprocessing.normalise(np.stack(images))
