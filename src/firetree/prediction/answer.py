"""Top-5 classes of each picture, as a table or JSON, and how often they were right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from firetree import tables
from firetree.data.damaged import DamagedPictureError
from firetree.errors import UserError
from firetree.modelfiles import Preprocessing
from firetree.prediction.backends import Run
from firetree.prediction.pictures import Picture

TOP = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture's most probable classes, or why it has none."""

    picture: str
    top5: tuple[Guess, ...]
    label: int | None
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """All pictures', and the seconds that reading and computing them took."""

    answers: tuple[Answer, ...]
    duration_s: float

    def top(self, k: int) -> float:
        """The share of labelled pictures that could be decoded, 0 to 1, whose class is among the first k."""
        known = [it for it in self.answers if it.label is not None and not it.damage]
        right = [a.label in [guess.index for guess in a.top5[:k]] for a in known]
        return sum(right) / len(known) if known else float("nan")


def predict(
    run: Run,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    pictures: Sequence[Picture],
) -> Answers:
    """Classify the pictures; a damaged one has no classes and gives its reason.

    Each core takes one picture after the other from file to classes, which keeps all of them busy
    and needs less memory and time a picture than batches do.

    Raises:
        UserError: all of them are damaged.
    """

    def answer(picture: Picture) -> Answer:
        try:
            x_HWC = preprocessing.apply(picture.image())
        except DamagedPictureError as error:
            return Answer(picture.name, (), picture.label, str(error))
        probabilities_K = run(preprocessing.normalise(x_HWC[None]))[0].softmax(0)
        return Answer(picture.name, _top(probabilities_K, class_names), picture.label)

    start_s = time.perf_counter()
    with _worker_on_each_core() as pool:
        answers = tuple(pool.map(answer, pictures))
    if all(it.damage for it in answers):
        first = answers[0]
        raise UserError(
            f"none of the images can be decoded ({first.picture}: {first.damage}); "
            "expected JPEG, PNG or the like"
        )
    return Answers(answers, time.perf_counter() - start_s)


@contextmanager
def _worker_on_each_core() -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch computes alone."""
    cores = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores, "predict", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


def _top(probabilities_K: Tensor, class_names: Sequence[str]) -> tuple[Guess, ...]:
    values, indices = probabilities_K.topk(min(TOP, len(class_names)))
    found = zip(indices.tolist(), values.tolist(), strict=True)
    return tuple(Guess(index, class_names[index], value) for index, value in found)


def as_json(found: Answers) -> str:
    """`[{"picture", "top5": [{"index", "name", "probability"}]}]`; "damage" where there is some."""
    return json.dumps(
        [
            {
                "picture": answer.picture,
                "top5": [
                    {"index": g.index, "name": g.name, "probability": g.probability}
                    for g in answer.top5
                ],
            }
            | ({"damage": answer.damage} if answer.damage else {})
            for answer in found.answers
        ],
        indent=1,
    )


def as_text(found: Answers) -> str:
    """A line a picture: its classes with their probabilities in percent."""
    rows = [
        (answer.picture, answer.damage or ", ".join(_short(guess) for guess in answer.top5))
        for answer in found.answers
    ]
    return tables.as_text(("picture", "classes"), rows, left=("picture", "classes"))


@dataclass(frozen=True, slots=True)
class Scores:
    """How often the labelled pictures' classes were found, and how long all pictures took."""

    pictures: int
    labelled: int
    damaged: int
    """Which have no answer, and are not among the labelled ones."""
    duration_s: float
    """From files to classes."""
    top1_percent: float
    top5_percent: float


def scored(found: Answers) -> Scores:
    """The scores of these answers.

    Raises:
        UserError: no picture has a label.
    """
    damaged = sum(bool(answer.damage) for answer in found.answers)
    labelled = sum(it.label is not None and not it.damage for it in found.answers)
    if not labelled:
        raise UserError("--labels, but no picture has one; expected a parquet, or class folders")
    percent = [100 * found.top(k) for k in (1, TOP)]
    return Scores(len(found.answers), labelled, damaged, found.duration_s, *percent)


def scores_as_text(scores: Scores) -> str:
    """One line: how often right, of how many, how fast."""
    rate = scores.pictures / scores.duration_s
    but = f"; {scores.damaged} more cannot be decoded" if scores.damaged else ""
    return (
        f"top-1 {scores.top1_percent:.1f} %, top-5 {scores.top5_percent:.1f} % of "
        f"{scores.labelled} pictures; {rate:.1f} pictures a second{but}"
    )


def _short(guess: Guess) -> str:
    return f"{guess.name.partition(',')[0]} {100 * guess.probability:.0f}"
