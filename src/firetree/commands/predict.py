"""`firetree predict`: classify images, answer texts line by line, or write on from a prompt."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output
from firetree.commands import tables
from firetree.commands.arguments import parse
from firetree.data.texts import split_lines
from firetree.documents import read_text
from firetree.errors import ArgumentError, UserError
from firetree.prediction import (
    ImagePrediction,
    ImageScores,
    Sampling,
    TextModel,
    TextPrediction,
    TextScores,
    TextWriter,
    load_predictor,
    predict,
    score,
)
from firetree.prediction.backends import Backend


@dataclass(frozen=True)
class PredictOptions:
    """Classify images, answer texts line by line, or write on from --prompt; MODEL decides which.

    Texts come from INPUT, from the lines of --file, or else from standard input. Each gives one line.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, or RUN/checkpoints/best, or a file: .fire, .safetensors, .net, .pth or .onnx."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT")]
    """Images, folders of images, a tar or a parquet; or words, or lines to translate."""
    classes: Path | None = None
    """A file with one class name a line, for a model without class names."""
    backend: Backend | None = None
    """By default torch; onnxruntime for many images, if it is installed."""
    file: Path | None = None
    """A file with one text a line."""
    beam: int | None = None
    """Beam width for texts; by default 1, which is greedy."""
    prompt: str | None = None
    """The beginning of a text, for a language model; what follows is printed as it comes."""
    tokens: int | None = None
    """The most symbols to write; by default 200."""
    temperature: float | None = None
    """Below 1 for what is likely, above 1 for more variety; by default 0.8. With 0 it is the likeliest."""
    top_k: int | None = None
    """Each symbol is one of so many likeliest ones; by default 40."""
    seed: int | None = None
    """Another number, another text; by default 0."""
    labels: bool = False
    """Print only the accuracy and the speed. For images, INPUT is a parquet, a CSV or a saved Hugging Face
    dataset with labels, or a folder or tar of class folders; of several splits, the test images count.
    For texts, the run's held-out texts are used, without INPUT."""
    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> None:
    options = parse(PredictOptions, "firetree predict", arguments)
    model = load_predictor(options.model, progress=output.tell)
    how = {name: getattr(options, name) for name in ("classes", "backend", "beam")}
    inputs: Sequence[str] = options.inputs
    if isinstance(model, TextWriter):
        _write(model, options)
        return
    for name in ("prompt", *_SAMPLING):
        if (value := getattr(options, name)) is not None:
            raise ArgumentError(
                name, f"is {value}, but {options.model} is no language model; leave it out"
            )
    if isinstance(model, TextModel):
        if options.labels and (inputs or options.file):
            raise UserError("--labels and texts; expected one of them")
        inputs = () if options.labels else lines_of(inputs, options.file)
    elif options.file:
        raise UserError(
            f"--file {options.file}, but {options.model} is not for texts; leave it out"
        )
    if options.labels:
        scores = score(model, inputs, **how, progress=output.tell)
        output.show(json.dumps(asdict(scores)) if options.json else _scores_as_text(scores))
        return
    found = predict(model, inputs, **how, progress=output.tell)
    output.show(_as_json(found) if options.json else _as_text(found))


_SAMPLING = tuple(entry.name for entry in fields(Sampling))


def _write(model: TextWriter, options: PredictOptions) -> None:
    """Print the prompt and what follows as it comes, or JSON at the end."""
    others = ("inputs", "file", "labels", "classes", "backend", "beam")
    if given := [name for name in others if getattr(options, name)]:
        what = "INPUT" if given[0] == "inputs" else f"--{given[0]}"
        raise UserError(
            f"{what}, but {options.model} is a language model; expected --prompt, the beginning of a text"
        )
    if options.prompt is None:
        raise ArgumentError("prompt", "is missing; expected the beginning of a text")
    values = {name: getattr(options, name) for name in _SAMPLING}
    sampling = Sampling(**{name: value for name, value in values.items() if value is not None})
    if options.json:
        output.show(_as_json([model.answer(options.prompt, sampling, output.tell)]))
        return
    output.show(options.prompt, end="")
    for part in model.write(options.prompt, sampling, output.tell):
        output.show(part, end="")
    output.show("")


def lines_of(texts: Sequence[str], file: Path | None) -> list[str]:
    """The given texts, or the lines of the file, or else the lines of standard input.

    Raises:
        UserError: texts and a file, or a file that cannot be read.
    """
    if texts and file is not None:
        raise UserError("texts and --file; expected one of them")
    if texts:
        return list(texts)
    try:
        return split_lines(sys.stdin.read() if file is None else read_text(file, "file"))
    except UnicodeDecodeError as error:
        raise UserError("standard input is not in UTF-8; expected texts in UTF-8") from error


def _as_json(found: Sequence[ImagePrediction | TextPrediction]) -> str:
    return json.dumps([_as_dict(one) for one in found], ensure_ascii=False, indent=1)


def _as_dict(one: ImagePrediction | TextPrediction) -> dict[str, object]:
    """`{"image", "top5": [{"index", "name", "probability"}]}`, with "damage" for a damaged image; or
    `{"input", "output", "score"}`."""
    if isinstance(one, TextPrediction):
        return asdict(one)
    found: dict[str, object] = {"image": one.image, "top5": [asdict(guess) for guess in one.top5]}
    return found | ({"damage": one.damage} if one.damage else {})


def _as_text(found: Sequence[ImagePrediction | TextPrediction]) -> str:
    """One line for each image, with its classes and their probabilities; or one for each text."""
    images = [
        (one.image, one.damage or ", ".join(map(repr, one.top5)))
        for one in found
        if isinstance(one, ImagePrediction)
    ]
    if images:
        return tables.as_text(("image", "classes"), images, left=("image", "classes"))
    return "\n".join(one.output for one in found if isinstance(one, TextPrediction))


def _scores_as_text(scores: ImageScores | TextScores) -> str:
    """One line: accuracy, number of samples, and speed."""
    if isinstance(scores, ImageScores):
        rate = scores.images / scores.duration_s
        but = f"; {scores.damaged} more cannot be decoded" if scores.damaged else ""
        return (
            f"top-1 {scores.top1_percent:.1f} %, top-5 {scores.top5_percent:.1f} % of "
            f"{scores.labelled} images; {rate:.1f} images a second{but}"
        )
    if scores.bleu is not None:
        good, what = f"BLEU {scores.bleu:.2f}", "lines"
    else:
        good = (
            f"phoneme error rate {scores.phoneme_error_percent:.2f} %, "
            f"word error rate {scores.word_error_percent:.2f} %"
        )
        what = "words"
    rate = scores.texts / scores.duration_s
    return f"{good} of {scores.texts:,} {what}; {rate:,.0f} {what} a second"
