"""From a model and its inputs to answers: classes of images, or texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from firetree.errors import ArgumentError
from firetree.modelfiles import Model, load_model, with_classes
from firetree.prediction.backends import Backend, fastest, start
from firetree.prediction.classification import (
    ImagePrediction,
    ImageScores,
    classify,
    image_scores,
)
from firetree.prediction.images import find_images
from firetree.prediction.texts import TextModel, TextPrediction, TextScores, score_texts
from firetree.progress import Progress, log
from firetree.tasks.texts import NAMES
from firetree.training import read_run

Sources = str | Path | Sequence[str | Path]


def load_predictor(path: str | Path, *, progress: Progress = log) -> Model | TextModel:
    """What `predict` answers with: the network of a run on texts, or a model of images.

    Raises:
        UserError: as `firetree.modelfiles.load_model`.
    """
    if Path(path).is_dir():
        trained = read_run(Path(path))
        if trained.recipe.data.name in NAMES:
            return TextModel.of(trained)
    return load_model(path, progress=progress)


def predict(
    model: Model | TextModel | str | Path,
    inputs: Sources,
    *,
    classes: str | Path | None = None,
    backend: Backend | None = None,
    beam: int | None = None,
    progress: Progress = log,
) -> list[ImagePrediction] | list[TextPrediction]:
    """Classify images, give phonemes of words, or translate lines.

    Args:
        model: the folder of a run, a file as `load_model` takes it, or a model.
        inputs: images, folders of them, a tar or a parquet; or texts.
        classes: a file with a class's name a line, where a model of images brings none.
        backend: by default torch; for many images onnxruntime, where it is installed.
        beam: hypotheses that are kept at each step of a text; by default 1, which is greedy.
        progress: hears what the model's reader assumed, and what was passed over.

    Returns:
        An answer for each image or text, in order.

    Raises:
        UserError: an unreadable model, no input, or an argument for models of another kind.

    Example:
        >>> firetree.predict("small.fire", "photographs/")[0].top5[0].name in "0123456789"
        True
    """
    given = _listed(inputs)
    if not isinstance(model, Model | TextModel):
        model = load_predictor(model, progress=progress)
    if isinstance(model, TextModel):
        _refuse("images", classes=classes, backend=backend)
        texts = [str(text) for text in given]
        model.check(texts)
        return model.answer(texts, 1 if beam is None else beam)
    _refuse("texts", beam=beam)
    return _classifier(model, given, classes, backend, progress, labelled=False)()


def score(
    model: Model | TextModel | str | Path,
    inputs: Sources = (),
    *,
    classes: str | Path | None = None,
    backend: Backend | None = None,
    beam: int | None = None,
    progress: Progress = log,
) -> ImageScores | TextScores:
    """How good a model's answers are: to labelled images, or to the texts that its run held out.

    Args:
        model: as `predict` takes it, and so are all other arguments.
        inputs: a parquet with labels, or a folder or tar of class folders; of several splits those
            images count that training would be tested on. None for texts.

    Raises:
        UserError: as `predict`; no label, or labels of other classes.
    """
    given = _listed(inputs)
    if not isinstance(model, Model | TextModel):
        model = load_predictor(model, progress=progress)
    if isinstance(model, TextModel):
        _refuse("images", classes=classes, backend=backend)
        if given:
            raise ArgumentError(
                "inputs", "are given, but held-out texts are scored; leave them out"
            )
        return score_texts(model, 1 if beam is None else beam)
    _refuse("texts", beam=beam)
    classified = _classifier(model, given, classes, backend, progress, labelled=True)
    start_s = time.perf_counter()
    return image_scores(classified(), time.perf_counter() - start_s)


def _listed(inputs: Sources) -> list[str | Path]:
    return [inputs] if isinstance(inputs, str | Path) else list(inputs)


def _refuse(kind: str, **given: object) -> None:
    for argument, value in given.items():
        if value is not None:
            raise ArgumentError(
                argument, f"is {value}, but the model is not for {kind}; leave it out"
            )


def _classifier(
    model: Model,
    inputs: Sequence[str | Path],
    classes: str | Path | None,
    backend: Backend | None,
    progress: Progress,
    *,
    labelled: bool,
) -> Callable[[], list[ImagePrediction]]:
    """What classifies the images, all ready to start."""
    model = with_classes(model, classes) if classes else model
    names = model.class_names
    images = find_images(inputs, names if labelled else None, progress)
    run = start(backend or fastest(len(images)), model)
    return partial(classify, run, model.preprocessing, names, images)
