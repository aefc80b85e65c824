"""Predict with a model, and score it: classes of images, or texts; or write on from a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from firetree.errors import ArgumentError, UserError
from firetree.modelfiles import Model, load_model, with_classes
from firetree.prediction.backends import Backend, fastest, start
from firetree.prediction.classification import (
    ImagePrediction,
    ImageScores,
    classify,
    image_scores,
)
from firetree.prediction.images import find_images
from firetree.prediction.language import Sampling, TextWriter
from firetree.prediction.texts import TextModel, TextPrediction, TextScores, score_texts
from firetree.progress import Progress, log
from firetree.tasks import LanguageData, PhonemeData, TranslationData
from firetree.training import check_ours, read_run

Sources = str | Path | Sequence[str | Path]
Predictor = Model | TextModel | TextWriter


def load_predictor(path: str | Path, *, progress: Progress = log) -> Predictor:
    """The model that `predict` uses: the network of a run on texts or on running text, or a model of images.

    Raises:
        UserError: as `firetree.modelfiles.load_model`.
    """
    if Path(path).is_dir():
        trained = read_run(Path(path))
        check_ours(trained, Path(path))
        if isinstance(trained.recipe.data, PhonemeData | TranslationData):
            return TextModel.of(trained)
        if isinstance(trained.recipe.data, LanguageData):
            return TextWriter.of(trained)
    return load_model(path, progress=progress)


def predict(
    model: Predictor | str | Path,
    inputs: Sources,
    *,
    classes: str | Path | None = None,
    backend: Backend | None = None,
    beam: int | None = None,
    tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    progress: Progress = log,
) -> list[ImagePrediction] | list[TextPrediction]:
    """Classify images, convert words to phonemes, translate lines, or write on from prompts.

    Args:
        model: the folder of a run, a file as `load_model` takes it, or a model.
        inputs: images, folders of them, a tar or a parquet; or texts; or prompts.
        classes: a file with one class name a line, for a model of images without names.
        backend: by default torch, or for many images onnxruntime where it is installed.
        beam: hypotheses that are kept at each step of a text; by default 1, which is greedy.
        tokens: the most symbols to write after a prompt; by default 200.
        temperature: of what is written, as of `Sampling`; by default 0.8.
        top_k: likeliest symbols among which each is drawn; by default 40.
        seed: decides what is drawn; by default 0.
        progress: is told what the model's reader assumed, and what was passed over.

    Returns:
        An answer for each image or text, in order.

    Raises:
        UserError: an unreadable model, no input, or an argument for models of another kind.

    Example:
        >>> firetree.predict("small.fire", "photographs/")[0].top5[0].name in "0123456789"
        True
    """
    sampling: dict[str, Any] = {
        "tokens": tokens,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
    }
    given, model = _prepared(
        *(model, inputs, progress), classes=classes, backend=backend, beam=beam, **sampling
    )
    if isinstance(model, TextWriter):
        how = Sampling(**{name: value for name, value in sampling.items() if value is not None})
        return [model.answer(str(prompt), how, progress) for prompt in given]
    if isinstance(model, TextModel):
        texts = [str(text) for text in given]
        model.check(texts)
        return model.answer(texts, 1 if beam is None else beam)
    return _classifier(model, given, classes, backend, progress, labelled=False)()


def score(
    model: Predictor | str | Path,
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
    given, model = _prepared(
        *(model, inputs, progress), classes=classes, backend=backend, beam=beam
    )
    if isinstance(model, TextWriter):
        raise UserError(
            "a language model is not scored here; its run's metrics have its perplexity and bits a byte"
        )
    if isinstance(model, TextModel):
        if given:
            raise ArgumentError(
                "inputs", "are given, but held-out texts are scored; leave them out"
            )
        return score_texts(model, 1 if beam is None else beam)
    classified = _classifier(model, given, classes, backend, progress, labelled=True)
    start_s = time.perf_counter()
    return image_scores(classified(), time.perf_counter() - start_s)


_OWN_ARGUMENTS: Mapping[type[Predictor], tuple[str, tuple[str, ...]]] = {
    Model: ("images", ("classes", "backend")),
    TextModel: ("texts", ("beam",)),
    TextWriter: ("running text", tuple(entry.name for entry in fields(Sampling))),
}
"""For each kind of model what it is for, and the arguments that no other kind takes."""


def _prepared(
    model: Predictor | str | Path, inputs: Sources, progress: Progress, **arguments: object
) -> tuple[list[str | Path], Predictor]:
    """The inputs as a list, and the model; refuses arguments for models of other kinds."""
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not isinstance(model, Predictor):
        model = load_predictor(model, progress=progress)
    for kind, (what, own) in _OWN_ARGUMENTS.items():
        for name in () if isinstance(model, kind) else own:
            if (value := arguments.get(name)) is not None:
                raise ArgumentError(
                    name, f"is {value}, but the model is not for {what}; leave it out"
                )
    return given, model


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
