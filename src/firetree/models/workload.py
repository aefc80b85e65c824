"""A model's workload: stored with firetree for our own image networks, else measured here.

`profiles.json` has the gradients of each network at its own image size, in the order in which they become
ready, so that planning needs no torch. `reproduce/profiles.py` writes it, with times in proportion to FLOPs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from firetree.errors import ArgumentError
from firetree.models.profile import Gradient, LayerSizes, Profile, Workload

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
    """A training step of the model, measured on this machine or scaled to a given duration.

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
    is_usual = size is None and example is None
    if isinstance(model, str) and compute_s and is_usual:
        kept = kept_workload(model, batch, compute_s)
        if kept is not None:
            return kept
    from firetree.models.cost import FLOAT_BYTES, cost
    from firetree.models.inputs import batch_of
    from firetree.models.resolve import name_of, resolve
    from firetree.models.timing import measure

    # With a given duration, few samples show a step's course well enough. Batch normalisation may need
    # more than one.
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
    return Workload(name_of(model), scaled, layers, samples)


def kept_workload(model: str, batch: int, compute_s: float) -> Workload | None:
    """The network's stored workload, scaled to a duration; None where it is not stored."""
    kept = _kept().get(model)
    if kept is None:
        return None
    forward_s = kept["forward"] * compute_s
    backward_s = compute_s - forward_s
    gradients = (
        Gradient(name, 4 * math.prod(shape), ready * backward_s, tuple(shape))
        for name, shape, ready in kept["gradients"]
    )
    layers = (
        LayerSizes(name, weight_bytes, activation_bytes * batch)
        for name, weight_bytes, activation_bytes in kept["layers"]
    )
    profile = Profile(forward_s, backward_s, tuple(gradients))
    return Workload(model, profile, tuple(layers), batch)


@cache
def _kept() -> dict[str, Any]:
    text = files("firetree.models").joinpath("profiles.json").read_text(encoding="utf-8")
    workloads: dict[str, Any] = json.loads(text)
    return workloads
