"""Turn labels into numbers: names become indices of classes, and whole floats become integers.

`splits` checks that they are in range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.images import Dataset, Stored
from firetree.data.look_alikes import hint
from firetree.errors import UserError
from firetree.output import printable

Labels = npt.NDArray[Any]


def labels_of(values: Sequence[int | str]) -> Labels:
    """labels_N of one type: int64 where all are numbers, else objects."""
    numbers = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64 if numbers else object)


def with_numbers(dataset: Dataset) -> Dataset:
    """The data set with numbers as labels, where possible; named classes are sorted by name.

    Raises:
        UserError: names and numbers are mixed, or only test images have a name.
    """
    parts = [dataset.train, *([dataset.test] if dataset.test else [])]
    labels = [_plain(part) for part in parts]
    classes = dataset.classes
    if any(label.dtype.kind == "U" for label in labels):
        for part, label in zip(parts, labels, strict=True):
            if label.dtype.kind != "U":
                raise UserError(
                    f"label {label[0]} of {part.name(0)} is a number, and others are names; "
                    "expected names or numbers throughout"
                )
        names = np.unique(labels[0])
        labels = [
            _name_indices(part, label, names) for part, label in zip(parts, labels, strict=True)
        ]
        classes = tuple(map(printable, names.tolist()))
    train, *test = [replace(part, labels=each) for part, each in zip(parts, labels, strict=True)]
    return replace(dataset, train=train, test=test[0] if test else None, classes=classes)


def _plain(stored: Stored) -> Labels:
    """labels_N as integers or text where they can be converted; else unchanged."""
    labels = stored.labels
    match labels.dtype.kind:
        case "b":
            return labels.astype(np.int64)
        case "f" if np.isfinite(labels).all() and (labels == np.rint(labels)).all():
            return labels.astype(np.int64)
        case "S":
            return np.array([label.decode("utf-8", "backslashreplace") for label in labels])
        case "O" if len(labels):
            return _texts(stored, labels)
    return labels


def _texts(stored: Stored, labels: Labels) -> Labels:
    for index, label in enumerate(labels.tolist()):
        if not isinstance(label, str):
            raise UserError(
                f"label {label!r:.80} of {stored.name(index)}; expected a class's name, as the other "
                "labels are, or numbers throughout"
            )
    return labels.astype(np.str_)


def _name_indices(stored: Stored, labels: Labels, names: Labels) -> Labels:
    unknown = np.flatnonzero(~np.isin(labels, names))
    if len(unknown):
        index = int(unknown[0])
        raise UserError(
            f"{stored.name(index)} is of the class '{printable(labels[index])}', which no training image "
            f"has; expected only {', '.join(map(printable, names[:20].tolist()))}"
            f"{hint(labels[index], names.tolist())}"
        )
    return np.searchsorted(names, labels)
