"""`firetree predict`: its options, and the way from them to answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree.compress import open_model
from firetree.errors import UserError
from firetree.predict.answer import Answers, predict
from firetree.predict.backends import Backend, fastest, start
from firetree.predict.pictures import find_pictures
from firetree.weights import read_classes


@dataclass(frozen=True)
class PredictOptions:
    """Classify pictures; how they become the network's input comes with the weights."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A .fire, or weights: .safetensors, .net, .pth or .onnx."""
    pictures: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PICTURE")]
    """Pictures, folders of them, a tar or a parquet."""
    classes: Path | None = None
    """A file with a class's name a line, where the model brings none."""
    backend: Backend | None = None
    """By default torch; for many pictures onnxruntime, where it is installed."""
    labels: bool = False
    """Compare with the pictures' labels: print top-1, top-5 and pictures a second alone."""
    json: bool = False
    """Print JSON."""


def answers_of(options: PredictOptions) -> Answers:
    """Classify the pictures that the options name.

    Raises:
        UserError: an unreadable model, no pictures, or another number of class names.
    """
    published = open_model(options.model)
    names = read_classes(options.classes) if options.classes else published.class_names
    if len(names) != published.class_count:
        raise UserError(
            f"{len(names)} names in {options.classes or options.model}; expected {published.class_count}, as the "
            "model has classes"
        )
    pictures = find_pictures(options.pictures)
    run = start(options.backend or fastest(len(pictures)), published)
    return predict(run, published.preprocessing, names, pictures)
