"""A model's workload: kept for networks of our own, else measured here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from firetree.errors import ArgumentError
from firetree.models.kept import kept_workload
from firetree.models.profile import LayerSizes, Workload

if TYPE_CHECKING:
    from torch import nn

    from firetree.models.inputs import Inputs


def load_workload(
    model: str | Callable[[], Any] | nn.Module,
    *,
    batch: int = 32,
    size: int | None = None,
    compute_s: float | None = None,
    example: Inputs | None = None,
) -> Workload:
    """A step of the model, measured on this machine, or its course in a given time.

    With `compute_s`, our own image networks at their own sizes need no torch.

    Args:
        model: one of `firetree.models.names()`, `module:function`, a function that returns a network (and
            perhaps an example), or a network.
        batch: samples a step on each host; an example of the model's own has its own batch.
        size: height and width of the images in pixels; None for the model's own.
        compute_s: how long forward and backward pass take; None to measure them here.
        example: what a network is called with: a tensor, a tuple of arguments, or a mapping of named ones.

    Raises:
        UserError: no such model, or one that cannot be trained on such inputs.
    """
    if batch < 1:
        raise ArgumentError("batch", f"is {batch}; expected 1 or more")
    if compute_s is not None and not compute_s > 0:
        raise ArgumentError("compute_s", f"is {compute_s:g}; expected more than 0")
    if isinstance(model, str) and compute_s and size is None and example is None:
        kept = kept_workload(model, batch, compute_s)
        if kept is not None:
            return kept
    return _measured(model, batch, size, compute_s, example)


def _measured(
    model: str | Callable[[], Any] | nn.Module,
    batch: int,
    size: int | None,
    compute_s: float | None,
    example: Inputs | None,
) -> Workload:
    from firetree.models.cost import FLOAT_BYTES, cost
    from firetree.models.inputs import batch_of
    from firetree.models.resolve import name_of, resolve
    from firetree.models.timing import measure

    # The course of a step is much the same for few samples, and a given duration says the rest; of one
    # alone, batch normalisation may have nothing to take a mean of.
    asked = batch if compute_s is None else min(batch, 2)
    module, inputs = resolve(model, asked, size, example)
    profile = measure(module, inputs)
    samples = batch if batch_of(inputs) == asked else batch_of(inputs)
    layers = tuple(
        LayerSizes(layer.name, layer.weight_bytes, layer.activations * FLOAT_BYTES * samples)
        for layer in cost(module, inputs).layers
        if layer.weight_bytes
    )
    scaled = profile if compute_s is None else profile.scaled(compute_s)
    return Workload(name_of(model), scaled, layers)
