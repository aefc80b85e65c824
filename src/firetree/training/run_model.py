"""Read image networks that `firetree train` has trained, from their runs' folders."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from firetree import models
from firetree.documents import from_document
from firetree.errors import UserError
from firetree.modelfiles.model import FIELDS, Model, check_shapes, shapes
from firetree.modelfiles.preprocessing import WHITE, Preprocessing
from firetree.models.batch_norm import folded
from firetree.models.families import given
from firetree.output import printable
from firetree.training.trained import check_ours, read_run


@dataclass(frozen=True, slots=True)
class _Images:
    """What a run says about its images."""

    classes: tuple[str, ...]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_run_model(folder: Path) -> Model:
    """The network of a run's newest whole checkpoint, with its preprocessing and class names.

    Raises:
        UserError: no run's folder, or not one of a network that classifies whole images.
    """
    trained = read_run(folder)
    model, data = trained.recipe.model, trained.data
    check_ours(trained, folder)
    if model.name not in models.names():
        raise UserError(
            f"{folder} is a run of {model.name}; expected one of {', '.join(models.names())}"
        )
    own = given(model.name, {name: getattr(model, name) for name in FIELDS if hasattr(model, name)})
    known = {field.name: data[field.name] for field in fields(_Images) if field.name in data}
    about = from_document(_Images, known, f"newest checkpoint of {folder}: data")
    preprocessing = Preprocessing(
        resize=about.size,
        squash=False,
        crop=about.size,
        order="RGB",
        mean=tuple(WHITE * mean for mean in about.mean),
        std=tuple(WHITE * std for std in about.std),
    )
    order = shapes(model.name, own, len(about.classes), about.channels, about.size)
    try:
        weights = folded(trained.weights)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"newest checkpoint of {folder}: no weights of {model.name}: {error}"
        ) from error
    state = {name: weights[name] for name in order if name in weights}
    check_shapes(model.name, state, order)
    classes = tuple(map(printable, about.classes))
    return Model(model.name, state, preprocessing, own, classes)
