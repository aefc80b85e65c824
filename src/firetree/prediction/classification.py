"""The five most probable classes of each image, and how often they were right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from firetree.data.damaged import DamagedImageError
from firetree.errors import UserError
from firetree.modelfiles import Preprocessing
from firetree.prediction.backends import Inference
from firetree.prediction.images import ImageInput

TOP = 5


@dataclass(frozen=True, slots=True, repr=False)
class Guess:
    """A class and its probability."""

    index: int
    name: str
    probability: float

    def __repr__(self) -> str:
        """The first of the class's names, and its probability in percent."""
        return f"{self.name.partition(',')[0]} {100 * self.probability:.0f}"


@dataclass(frozen=True, slots=True, repr=False)
class ImagePrediction:
    """An image's most probable classes, or why it has none."""

    image: str
    top5: tuple[Guess, ...]
    label: int | None = None
    """The right class, where it is known."""
    damage: str = ""

    def __repr__(self) -> str:
        return f"{self.image}: {self.damage or ', '.join(map(repr, self.top5))}"


@dataclass(frozen=True, slots=True)
class ImageScores:
    """The accuracy on labelled images, and the time for all images."""

    images: int
    labelled: int
    damaged: int
    """They have no answer, and do not count as labelled."""
    duration_s: float
    """From reading files to classes."""
    top1_percent: float
    top5_percent: float


def classify(
    run: Inference,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    images: Sequence[ImageInput],
) -> list[ImagePrediction]:
    """Predict classes; a damaged image has none and gives its reason.

    Each core takes one image at a time from file to classes. That keeps all cores busy, and takes less
    memory and time an image than batches do.

    Raises:
        UserError: all of them are damaged.
    """

    def predicted(image: ImageInput) -> ImagePrediction:
        try:
            x_HWC = preprocessing.apply(image.read())
        except DamagedImageError as error:
            return ImagePrediction(image.name, (), image.label, str(error))
        probabilities_K = run(preprocessing.normalise(x_HWC[None]))[0].softmax(0)
        return ImagePrediction(image.name, _top(probabilities_K, class_names), image.label)

    with _worker_on_each_core() as pool:
        predictions = list(pool.map(predicted, images))
    if all(one.damage for one in predictions):
        raise UserError(
            f"none of the images can be decoded ({predictions[0]!r}); expected JPEG, PNG or the like"
        )
    return predictions


def image_scores(predictions: Sequence[ImagePrediction], duration_s: float) -> ImageScores:
    """Compare the predictions with the labels.

    Raises:
        UserError: no image has a label.
    """
    damaged = sum(bool(one.damage) for one in predictions)
    labelled = [one for one in predictions if one.label is not None and not one.damage]
    if not labelled:
        raise UserError("no image has a label; expected a parquet, or class folders")
    top1, top5 = (
        100
        * sum(one.label in [guess.index for guess in one.top5[:k]] for one in labelled)
        / len(labelled)
        for k in (1, TOP)
    )
    return ImageScores(len(predictions), len(labelled), damaged, duration_s, top1, top5)


@contextmanager
def _worker_on_each_core() -> Iterator[ThreadPoolExecutor]:
    """A pool with a thread a core, in each of which PyTorch uses that core alone."""
    cores = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores, "predict", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


def _top(probabilities_K: Tensor, class_names: Sequence[str]) -> tuple[Guess, ...]:
    values, indices = probabilities_K.topk(min(TOP, len(class_names)))
    best = zip(indices.tolist(), values.tolist(), strict=True)
    return tuple(Guess(index, class_names[index], value) for index, value in best)
