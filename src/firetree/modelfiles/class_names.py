"""Names of a model's classes from a file of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from firetree.data.texts import split_lines
from firetree.documents import read_text
from firetree.errors import ArgumentError
from firetree.modelfiles.model import Model


def with_classes(model: Model, path: str | Path) -> Model:
    """The model with the class names of a file.

    Raises:
        UserError: as `read_classes`, or another number of names than the model has classes.
    """
    classes = read_classes(path)
    if len(classes) != model.class_count:
        raise ArgumentError(
            "classes",
            f"{path} has {len(classes)} names; expected {model.class_count}, as the model has classes",
        )
    return replace(model, classes=classes)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Class names, one a line; an identifier of WordNet in front (`n01440764 tench`) is left out.

    Raises:
        UserError: the file cannot be read.
    """
    lines = split_lines(read_text(Path(path), "file of class names"))
    return tuple(_without_wnid(line) for line in lines if line.strip())


def _without_wnid(line: str) -> str:
    first, _, rest = line.strip().partition(" ")
    return rest if rest and len(first) == 9 and first[0] == "n" and first[1:].isdigit() else line
