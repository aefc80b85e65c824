"""Predict with a model, and score it: classes of images, or texts."""

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
from firetree.tasks import PhonemeData, TranslationData
from firetree.training import read_run

Sources = str | Path | Sequence[str | Path]


def load_predictor(path: str | Path, *, progress: Progress = log) -> Model | TextModel:
    """The model that `predict` uses: the network of a run on texts, or a model of images.

    Raises:
        UserError: as `firetree.modelfiles.load_model`.
    """
    if Path(path).is_dir():
        trained = read_run(Path(path))
        if isinstance(trained.recipe.data, PhonemeData | TranslationData):
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
    """Classify images, convert words to phonemes, or translate lines.

    Args:
        model: the folder of a run, a file as `load_model` takes it, or a model.
        inputs: images, folders of them, a tar or a parquet; or texts.
        classes: a file with one class name a line, for a model of images without names.
        backend: by default torch, or for many images onnxruntime where it is installed.
        beam: hypotheses that are kept at each step of a text; by default 1, which is greedy.
        progress: is told what the model's reader assumed, and what was passed over.

    Returns:
        An answer for each image or text, in order.

    Raises:
        UserError: an unreadable model, no input, or an argument for models of another kind.

    Example:
        >>> firetree.predict("small.fire", "photographs/")[0].top5[0].name in "0123456789"
        True
    """
    given, model = _prepared(model, inputs, classes, backend, beam, progress)
    if isinstance(model, TextModel):
        texts = [str(text) for text in given]
        model.check(texts)
        return model.answer(texts, 1 if beam is None else beam)
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
    """Score a model's answers to labelled images, or to the texts that its run held out.

    Args:
        model: as `predict` takes it, like all other arguments.
        inputs: a parquet with labels, or a folder or tar of class folders. Of several splits, the one that
            training would test on counts. Texts take none.

    Raises:
        UserError: as `predict`; no label, or labels of other classes.
    """
    given, model = _prepared(model, inputs, classes, backend, beam, progress)
    if isinstance(model, TextModel):
        if given:
            raise ArgumentError(
                "inputs", "are given, but held-out texts are scored; leave them out"
            )
        return score_texts(model, 1 if beam is None else beam)
    classified = _classifier(model, given, classes, backend, progress, labelled=True)
    start_s = time.perf_counter()
    return image_scores(classified(), time.perf_counter() - start_s)


def _prepared(
    model: Model | TextModel | str | Path,
    inputs: Sources,
    classes: str | Path | None,
    backend: Backend | None,
    beam: int | None,
    progress: Progress,
) -> tuple[list[str | Path], Model | TextModel]:
    """The inputs as a list, and the model; refuses arguments for models of the other kind."""
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not isinstance(model, Model | TextModel):
        model = load_predictor(model, progress=progress)
    if isinstance(model, TextModel):
        _refuse("images", classes=classes, backend=backend)
    else:
        _refuse("texts", beam=beam)
    return given, model


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
    """A call that classifies the images, with all preparation done."""
    model = with_classes(model, classes) if classes else model
    names = model.class_names
    images = find_images(inputs, names if labelled else None, progress)
    run = start(backend or fastest(len(images)), model)
    return partial(classify, run, model.preprocessing, names, images)
