"""Each layer's weights, arithmetic and activations; for a `.fire`, each layer's bytes in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from firetree import models
from firetree.errors import ArgumentError
from firetree.modelfiles.fire.file import FireFile, read_fire
from firetree.modelfiles.kinds import SUFFIXES, format_of
from firetree.modelfiles.loading import load_model
from firetree.modelfiles.model import Model
from firetree.models.classic import SMALLEST_SIZE
from firetree.models.cost import FLOAT_BYTES, Cost, cost
from firetree.models.resolve import name_of, resolve
from firetree.progress import Progress, log
from firetree.shown import Shown


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(Shown):
    """A model's cost. Data parallelism sends |W| a worker and step, model parallelism |D| (FireCaffe)."""

    model: str
    batch: int
    cost: Cost

    def __repr__(self) -> str:
        return (
            f"Inspection({self.model}, {self.parameters:,} parameters, {self.cost.flops:,} flops)"
        )

    @property
    def parameters(self) -> int:
        return self.cost.weight_bytes // FLOAT_BYTES

    @property
    def activation_bytes(self) -> int:
        """|D| for the batch."""
        return self.cost.activation_bytes * self.batch


def inspect(
    model: Model | str | Path | Callable[[], Any] | nn.Module,
    size: int | None = None,
    batch: int = 1,
    *,
    progress: Progress = log,
) -> Inspection | FireFile:
    """Measure a network's cost from an image's shape; or open a `.fire` to see its layers' bytes.

    Args:
        model: a network's name, `module:function` or a function that returns a torch module, such a
            module, a file as `load_model` takes it, the folder of a run, or a model.
        size: height and width of the images; by default the network's own.
        batch: the number of samples to count activations for.
        progress: as of `load_model`.

    Raises:
        UserError: no such network or file, or a network that does not take such images.

    Example:
        >>> firetree.inspect("squeezenet_v1_1")
        Inspection(squeezenet_v1_1, 1,235,496 parameters, 775,495,040 flops)
        >>> firetree.inspect("small.fire").layers[0].code_bytes > 0
        True
    """
    if batch < 1:
        raise ArgumentError("batch", f"is {batch}; expected 1 or more")
    if isinstance(model, Path) or (isinstance(model, str) and _is_path(model)):
        path = Path(model)
        if path.is_dir() or format_of(path) != "fire":
            return _of_model(str(path), load_model(path, progress=progress), size, batch)
        if size is not None:
            raise ArgumentError("size", f"is {size}, but {path} is a .fire; leave it out")
        return read_fire(path)
    if isinstance(model, Model):
        return _of_model(model.network, model, size, batch)
    return Inspection(name_of(model), batch, cost(*resolve(model, 1, size)))


def _is_path(name: str) -> bool:
    path = Path(name)
    return name not in models.names() and (path.exists() or path.suffix in SUFFIXES)


def _of_model(name: str, model: Model, size: int | None, batch: int) -> Inspection:
    if size is not None and size < SMALLEST_SIZE:
        raise ArgumentError("size", f"is {size}; expected at least {SMALLEST_SIZE} pixels a side")
    return Inspection(name, batch, cost(model.build(), model.example(size)))
