"""Measures of the test set that a recipe names: torchmetrics' where installed, or one of the user's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch

from firetree import own_code
from firetree.errors import UserError, nearest
from firetree.extras import extra
from firetree.fields import Arguments
from firetree.models.inputs import batch_of
from firetree.peers import gather_json
from firetree.tasks.losses import logits_of


@dataclass(frozen=True, slots=True)
class MetricRecipe:
    """What is measured on the test set besides the loss and the accuracy."""

    name: str | None = None
    """A class of torchmetrics, as in MulticlassF1Score, or one of your own, as in mine:metric; None for
    nothing else."""
    arguments: Arguments = field(default_factory=dict)
    """What it is called with, as in {num_classes = 10}."""


class Measure(Protocol):
    """Sums up what batches show; each rank has its own."""

    def add(self, outputs: Any, y: Any) -> None:
        """One more batch."""

    def take(self) -> dict[str, float]:
        """The values over all ranks, which call it together, by name; it begins anew."""


def check_metric(recipe: MetricRecipe) -> None:
    """Raise UserError where no metric can have this name."""
    if recipe.name is None and recipe.arguments:
        raise UserError("metric.arguments without metric.name; expected both")


def build_measure(recipe: MetricRecipe) -> Measure | None:
    """The measure that a recipe names; None where it names none.

    One of the user's own is a function of outputs and targets, or a class whose instance is one. It gives a
    number, a tensor with one for each sample, or several by name; numbers are means over the samples.

    Raises:
        UserError: it cannot be loaded.
    """
    if recipe.name is None:
        return None
    if own_code.is_own(recipe.name):
        name = recipe.name.partition(own_code.SEPARATOR)[2]
        return _Own(name, own_code.function_of(recipe.name, recipe.arguments))
    with extra("torchmetrics", f"measure {recipe.name}"):
        import torchmetrics
    known = {**vars(torchmetrics.classification), **vars(torchmetrics)}
    kind = known.get(recipe.name)
    if not isinstance(kind, type) or not issubclass(kind, torchmetrics.Metric):
        names = [name for name, it in known.items() if isinstance(it, type)]
        raise UserError(f"metric.name = '{recipe.name}' is unknown{nearest(recipe.name, names)}")
    made = own_code.run(recipe.name, partial(kind, **recipe.arguments))
    return _TorchMetric(recipe.name, made)


@dataclass
class _TorchMetric:
    name: str
    metric: Any

    def add(self, outputs: Any, y: Any) -> None:
        own_code.run(self.name, partial(self.metric.update, logits_of(outputs).cpu(), y.cpu()))

    def take(self) -> dict[str, float]:
        value = own_code.run(self.name, lambda: float(self.metric.compute()))
        self.metric.reset()
        return {self.name: value}


@dataclass
class _Own:
    name: str
    function: Callable[[Any, Any], Any]
    sums: defaultdict[str, float] = field(default_factory=partial(defaultdict, float))
    samples: int = 0

    def add(self, outputs: Any, y: Any) -> None:
        found = self.function(outputs, y)
        count = batch_of(y) or batch_of(outputs)
        values = found if isinstance(found, Mapping) else {self.name: found}
        for name, value in values.items():
            each = torch.as_tensor(value, dtype=torch.float64)
            self.sums[name] += each.mean().item() * count
        self.samples += count

    def take(self) -> dict[str, float]:
        every = gather_json([self.sums, self.samples])
        self.sums, self.samples = defaultdict(float), 0
        count = sum(samples for _, samples in every)
        names = sorted({name for sums, _ in every for name in sums})
        return {name: sum(sums.get(name, 0.0) for sums, _ in every) / count for name in names}
