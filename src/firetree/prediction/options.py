"""`firetree predict`: its options, and the way from them to answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree.deep_compression import open_model
from firetree.errors import UserError
from firetree.modelfiles import with_classes
from firetree.prediction import answer, texts
from firetree.prediction.backends import Backend, fastest, start
from firetree.prediction.pictures import find_pictures
from firetree.tasks.texts import NAMES
from firetree.training import Trained, read_run


@dataclass(frozen=True)
class PredictOptions:
    """Classify pictures, give phonemes of words, or translate lines; all that it takes comes with MODEL.

    Texts are INPUT, the lines of --file, or else those of standard input; for each there is a line.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, a .fire, or weights: .safetensors, .net, .pth or .onnx."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT")]
    """Pictures, folders of them, a tar or a parquet; or words, or lines to translate."""
    classes: Path | None = None
    """A file with a class's name a line, where the model brings none."""
    backend: Backend | None = None
    """By default torch; for many pictures onnxruntime, where it is installed."""
    file: Path | None = None
    """A file with a text a line."""
    beam: int | None = None
    """Hypotheses that are kept at each step of a text; by default 1, which is greedy."""
    labels: bool = False
    """Print how good the answers are, and how many there are in a second, alone: for a parquet with
    labels, or a folder or tar of class folders (of several splits those images that training would be
    tested on), or for the texts that the run held out, without INPUT."""
    json: bool = False
    """Print JSON."""


def run(options: PredictOptions, tell: Callable[[str], None] = lambda _: None) -> str:
    """Predict, and give what is to be printed.

    Args:
        tell: is given a line on what the model's reader assumed, chose or left out.

    Raises:
        UserError: an unreadable model, no input, or an option that it does not have.
    """
    if options.model.is_dir():
        trained = read_run(options.model)
        if trained.recipe.data.name in NAMES:
            return _of_texts(options, trained)
    return _of_pictures(options, tell)


def _of_texts(options: PredictOptions, trained: Trained) -> str:
    _refuse(options, ("classes", "backend"), "pictures")
    beam = 1 if options.beam is None else options.beam
    if beam < 1:
        raise UserError(f"--beam {beam}; expected 1 or more")
    model = texts.open_texts(trained)
    if options.labels:
        if options.inputs or options.file:
            raise UserError("--labels and texts; expected one of them")
        scores = texts.scored(model, trained, beam)
        return json.dumps(asdict(scores)) if options.json else texts.scores_as_text(scores)
    asked = texts.lines_of(options.inputs, options.file)
    model.check(asked)
    found = model.answers(asked, beam)
    return texts.as_json(asked, found) if options.json else "\n".join(its.text for its in found)


def _of_pictures(options: PredictOptions, tell: Callable[[str], None]) -> str:
    _refuse(options, ("file", "beam"), "texts")
    found = _answers_of(options, tell)
    if options.labels:
        scores = answer.scored(found)
        return json.dumps(asdict(scores)) if options.json else answer.scores_as_text(scores)
    return answer.as_json(found) if options.json else answer.as_text(found)


def _refuse(options: PredictOptions, fields: tuple[str, ...], kind: str) -> None:
    for field in fields:
        if getattr(options, field) is not None:
            raise UserError(
                f"--{field} {getattr(options, field)}, but {options.model} is not for {kind}; "
                "leave it out"
            )


def _answers_of(options: PredictOptions, tell: Callable[[str], None]) -> answer.Answers:
    """Classify the pictures that the options name.

    Raises:
        UserError: an unreadable model, no pictures, another number of class names, or labels of other
            classes.
    """
    published = open_model(options.model, tell)
    if options.classes:
        published = with_classes(published, options.classes)
    names = published.class_names
    paths = [Path(text) for text in options.inputs]
    pictures = find_pictures(paths, names if options.labels else None, tell)
    compute = start(options.backend or fastest(len(pictures)), published)
    return answer.predict(compute, published.preprocessing, names, pictures)
