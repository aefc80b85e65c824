"""A model's workload by its name, measured here or stretched to a given time."""

from __future__ import annotations

from firetree.errors import UserError
from firetree.models.cost import FLOAT_BYTES, cost
from firetree.models.profile import LayerSizes, Workload
from firetree.models.resolve import resolve
from firetree.models.timing import measure
from firetree.network import parse_duration


def load_workload(model: str, batch: int, size: int | None, compute: str | None) -> Workload:
    """Measure a step of the model on this machine, or take its course and stretch it to `compute`.

    Args:
        model: one of `firetree.models.names()`, or `module:function`.
        batch: samples a step on each host.
        size: height and width of the pictures in pixels; None for the model's own.
        compute: how long forward and backward pass take, as in `0.1s`; None to measure them here.

    Raises:
        UserError: no such model, or one that cannot be trained on such pictures.
    """
    if batch < 1:
        raise UserError(f"--batch {batch}; expected 1 or more")
    compute_s = parse_duration(compute) if compute is not None else None
    if compute_s == 0:
        raise UserError(f"--compute {compute}; expected more than 0")
    # The course of a step is much the same for few samples, and a given duration says the rest; of one
    # alone, batch normalisation may have nothing to take a mean of.
    module, example = resolve(model, batch if compute_s is None else min(batch, 2), size)
    profile = measure(module, example)
    layers = tuple(
        LayerSizes(layer.name, layer.weight_bytes, layer.activations * FLOAT_BYTES * batch)
        for layer in cost(module, example).layers
        if layer.weight_bytes
    )
    return Workload(model, profile if compute_s is None else profile.scaled(compute_s), layers)
