"""The pictures' networks that `firetree train` has trained, from the folders of their runs."""

from __future__ import annotations

from pathlib import Path

from firetree import models
from firetree.errors import UserError
from firetree.models.batch_norm import folded
from firetree.output import printable
from firetree.train import read_run
from firetree.weights.published import FIELDS, Preprocessing, Published, shapes

_WHITE = 255.0


def read_published(folder: Path) -> Published:
    """The network of a run's newest whole checkpoint, with its preprocessing and class names.

    Raises:
        UserError: no run's folder, or not one of a network that classifies whole pictures.
    """
    trained = read_run(folder)
    model, data = trained.recipe.model, trained.data
    if model.name not in models.names():
        raise UserError(
            f"{folder} is a run of {model.name}; expected one of {', '.join(models.names())}"
        )
    fields = {name: getattr(model, name) for name in FIELDS if getattr(model, name) is not None}
    size, channels, classes = data["size"], data["channels"], tuple(map(printable, data["classes"]))
    preprocessing = Preprocessing(
        resize=size,
        squash=False,
        crop=size,
        order="RGB",
        mean=tuple(_WHITE * mean for mean in data["mean"]),
        std=tuple(_WHITE * std for std in data["std"]),
    )
    order = shapes(model.name, fields, len(classes), channels, size)
    weights = folded(trained.weights)
    state = {name: weights[name] for name in order}
    return Published(model.name, state, preprocessing, fields, classes)
