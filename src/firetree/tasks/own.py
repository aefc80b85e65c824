"""Data sets of the user's own: any samples that a network of theirs, or one for images, is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Subset

from firetree import models, own_code
from firetree.data import Account
from firetree.data.account import HELD_OUT, checksum
from firetree.data.order import hold_out
from firetree.documents import Count, Expect
from firetree.errors import UserError
from firetree.fields import Arguments, Fixed, OwnName, Part
from firetree.models.families import STARTING
from firetree.models.inputs import Inputs, shapes_of
from firetree.models.outputs import summed_loss, tensors
from firetree.tasks.losses import classified, each_mean, logits_of, scores
from firetree.tasks.own_loader import OwnLoader, OwnSplits, example, is_iterable, seeded


@dataclass(frozen=True, slots=True)
class OwnData:
    """A data set of the user's own: torch datasets, map-style or iterable."""

    name: Fixed[OwnName]
    """The function or class that gives it, as in mine:dataset: the samples, or a pair of those to train on
    and those to test on."""
    arguments: Fixed[Arguments] = field(default_factory=dict)
    """What that is called with, as in {years = 3}."""
    test_fraction: Fixed[Part] = 0.2
    """Share held out where there is no pair."""
    classes: Fixed[Annotated[int, Expect(lambda value: value >= 2, "2 or more")] | None] = None
    """Number of classes, for a network that comes with firetree."""
    readers: Count = 0
    """Processes of each worker that read samples ahead; 0 to read in the worker itself."""


@dataclass(frozen=True)
class OwnTask:
    """Samples (inputs, target). Without another loss, targets are classes, by cross-entropy."""

    splits: OwnSplits
    classes: int | None
    test_from: str

    @property
    def examples(self) -> int:
        return len(self.splits.train)

    @property
    def about(self) -> dict[str, Any]:
        return {"own": self.splits.name}

    @cached_property
    def account(self) -> Account:
        train, test = self.splits.train, self.splits.test
        first = tensors(example(train, self.splits.name, 1))
        # As float64, since NumPy lacks some types of PyTorch.
        sum_ = checksum(tensor.double().numpy().tobytes() for tensor in first)
        return Account("samples", len(train), len(test), self.test_from, checksum=sum_)

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        """A network for images that comes with firetree."""
        image = example(self.splits.train, self.splits.name, 1)[0]
        if not isinstance(image, Tensor) or image.dim() != 4 or image.shape[2] != image.shape[3]:
            raise UserError(
                f"model.name = '{fields['name']}' takes images; expected (channels, size, size) from "
                f"{self.splits.name}, or a network of your own, as in mine:net"
            )
        if self.classes is None:
            raise UserError(f"data.classes is missing; '{fields['name']}' needs their number")
        own = {name: it for name, it in fields.items() if it is not None and name not in STARTING}
        return models.build(
            **own, classes=self.classes, channels=image.shape[1], size=image.shape[2]
        )

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> OwnLoader:
        return OwnLoader(
            self.splits, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size
        )

    def example(self, count: int) -> Inputs:
        return example(self.splits.train, self.splits.name, count)[0]

    def loss(self, outputs: Any, y: Any, label_smoothing: float = 0.0) -> Tensor:
        if isinstance(outputs, models.Outputs):
            return summed_loss(outputs, y, label_smoothing)
        logits = logits_of(outputs)
        if (classes := scores(logits, y)) is None:
            kind = shapes_of(y) or f"a value of type {type(y).__name__}"
            raise UserError(
                f"the network gives {shapes_of(logits)}, and y is {kind}, which numbers no classes of it; name a "
                "loss by loss.name, as in mse or mine:loss"
            )
        return classified(classes.float(), y, label_smoothing=label_smoothing)

    def right(self, outputs: Any, y: Any) -> Tensor | None:
        """How many samples, or parts of them, have the right class; None where there are no classes."""
        try:
            classes = scores(logits_of(outputs), y)
        except UserError:
            return None
        return None if classes is None else each_mean((classes.argmax(-1) == y).float(), y).sum()

    def figures(self, loss: float) -> dict[str, float]:
        return {}


def load_own(data: OwnData, seed: int) -> OwnTask:
    """The data set that a recipe names.

    Raises:
        UserError: it cannot be loaded, or is no data set.
    """
    with seeded(seed):  # so that all ranks and a resumed run have the same
        made = own_code.make(data.name, data.arguments)
    is_pair = isinstance(made, tuple) and len(made) == 2
    for dataset in made if is_pair else (made,):
        _check(dataset, data.name)
    train, test = made if is_pair else _held_out(made, data, seed)
    splits = OwnSplits(data.name, train, test, data.readers)
    return OwnTask(splits, data.classes, "as given" if is_pair else HELD_OUT)


def _check(dataset: Any, name: str) -> None:
    if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
        raise UserError(
            f"{name} gave a value of type {type(dataset).__name__}; expected a torch Dataset, or a pair of them"
        )
    try:
        size = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise UserError(
            f"{name} gave a dataset without a length; expected one that tells it by __len__"
        ) from error
    if not size:
        raise UserError(f"{name} gave a dataset of 0 samples; expected at least one")


def _held_out(dataset: Any, data: OwnData, seed: int) -> tuple[Any, Any]:
    if is_iterable(dataset) or len(dataset) < 2:
        raise UserError(
            f"{data.name} gave one dataset of which no share can be held out; expected a pair, to train on "
            "and to test on"
        )
    one_class_N = np.zeros(len(dataset), np.int64)  # as labels are known only once samples are read
    rows = hold_out(one_class_N, data.test_fraction, seed)
    train, test = (Subset(dataset, part.tolist()) for part in rows)
    return train, test
