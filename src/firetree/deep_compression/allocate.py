"""Choose how finely each layer is rounded, so that the file meets a budget and answers change least.

Rounding a layer of N weights to steps of size s costs about N · g · s² / 24. Here g is the mean squared
gradient of its weights (Fisher's information). Its bytes fall by N / 8 when s doubles. At the best
allocation one more byte helps every layer equally, so s is proportional to 1 / sqrt(g). Bits and density
of each layer then follow from one number, which a search fits to the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log2, sqrt

import numpy as np
import torch
from torch import Tensor

from firetree.deep_compression.calibrate import Calibration
from firetree.deep_compression.quantise import (
    MOST_STEPS,
    Compensation,
    compensation,
    in_steps,
    quantise,
    whole_step,
)
from firetree.errors import ArgumentError
from firetree.modelfiles import Model
from firetree.modelfiles.fire import fire
from firetree.modelfiles.fire.coders import CoderName
from firetree.modelfiles.fire.numbers import is_half, pack_floats
from firetree.modelfiles.fire.shared import Compressed, Shared, halved, keep_exactly
from firetree.modelfiles.fire.tables import entropy_bits
from firetree.progress import Progress

_TRIES = 6
_CLOSE = 0.004
"""Stop searching when less than this part of the budget is unused."""

_OCTAVES = 0.5


def fit_budget(
    model: Model,
    calibration: Calibration,
    budget_bytes: int,
    progress: Progress,
    *,
    coder: CoderName = "rans",
    to_be_retrained: bool = False,
) -> Compressed:
    """Round the model as finely as `budget_bytes` for the whole file allow.

    Args:
        coder: of the file.
        to_be_retrained: leave room for what retraining adds.

    Raises:
        UserError: no tried allocation met the budget.
    """
    by_layer = ((name, compensation(m_FF)) for name, m_FF in calibration.moments_FF.items())
    compensations = {name: one for name, one in by_layer if one is not None}
    relative = relative_steps(model.state, calibration.sensitivity)
    scale_of = _scales(model.state, relative)
    least_bytes = _least_bytes(model, coder)
    wanted_bytes = float(budget_bytes - least_bytes)
    best: Compressed | None = None
    best_bytes, last_bytes = 0, 0
    for _ in range(_TRIES):
        tried = rounded(model, relative, scale_of(wanted_bytes), compensations)
        growth_bytes = _growth_bytes(tried) if to_be_retrained else 0
        size_bytes = len(fire.write(tried, coder)) + growth_bytes
        progress(f"{size_bytes:,} bytes of {budget_bytes:,}")
        if best_bytes < size_bytes <= budget_bytes:
            best, best_bytes = tried, size_bytes
        # The same size again means that steps are as small as codes of a byte allow, or all weights 0.
        if size_bytes == last_bytes or (1 - _CLOSE) * budget_bytes <= size_bytes <= budget_bytes:
            break
        last_bytes = size_bytes
        aimed_bytes = (1 - _CLOSE / 2) * budget_bytes
        wanted_bytes *= max(aimed_bytes - least_bytes, 0) / max(size_bytes - least_bytes, 1)
    if best is None:
        raise ArgumentError(
            "budget",
            f"is {budget_bytes:,} bytes; expected more, {size_bytes:,} is what was reached",
        )
    return best


def check_budget(model: Model, budget_bytes: int, coder: CoderName) -> None:
    """Refuse a budget that the file would need even with all weights at 0.

    Raises:
        UserError: such a budget.
    """
    least_bytes = _least_bytes(model, coder)
    if budget_bytes <= least_bytes:
        raise ArgumentError(
            "budget",
            f"is {budget_bytes:,} bytes; expected more than {least_bytes:,}, which the file takes with "
            "all weights at 0",
        )


def _least_bytes(model: Model, coder: CoderName) -> int:
    """The bytes of the file with all weights at 0."""
    state = {
        name: torch.zeros_like(tensor) if tensor.dim() > 1 else halved(tensor)
        for name, tensor in model.state.items()
    }
    return len(fire.write(keep_exactly(replace(model, state=state)), coder))


def _growth_bytes(compressed: Compressed) -> int:
    """The most bytes that retraining adds.

    A codebook's value may take a byte more, since it is no multiple of a step then. Other numbers may no
    longer repeat, so deflating them may save nothing.
    """
    values = sum(len(t.codebook) for t in compressed.tensors.values() if isinstance(t, Shared))
    kept = [t.numpy() for t in compressed.tensors.values() if isinstance(t, Tensor)]
    halves = np.concatenate([np.zeros(0, np.float32), *(row for row in kept if is_half(row))])
    return values + max(0, 2 * len(halves) - len(pack_floats(halves, 2)))


def relative_steps(
    state: Mapping[str, Tensor], sensitivity: Mapping[str, float]
) -> dict[str, float]:
    """The step of each layer's weights, relative to the other layers'."""
    floor = 1e-12 * max(sensitivity.values(), default=1.0) + 1e-30
    return {name: 1 / sqrt(max(sensitivity[name], floor)) for name in state if name in sensitivity}


def rounded(
    model: Model,
    relative: Mapping[str, float],
    scale: float,
    compensations: Mapping[str, Compensation],
) -> Compressed:
    """Round each layer in steps of `scale` times its own; other numbers get 16 bits where these suffice."""
    tensors = {
        name: quantise(tensor, scale * relative[name], compensations.get(name))
        if name in relative
        else halved(tensor)
        for name, tensor in model.state.items()
    }
    return Compressed(replace(model, state={}), tensors)


def _scales(state: Mapping[str, Tensor], relative: Mapping[str, float]) -> Callable[[float], float]:
    """A function from the bytes of all codes to the scale at which plain rounding takes so many.

    It is measured at scales `_OCTAVES` octaves from each other, from the one at which codes fill their
    bytes to the one at which all weights are 0.
    """
    smallest = (
        float(state[name].abs().max()) / MOST_STEPS / step for name, step in relative.items()
    )
    exponents = [log2(min((one for one in smallest if one > 0), default=1.0))]
    sizes: list[float] = []
    while not sizes or sizes[-1] > 0:
        scale = 2 ** exponents[-1]
        sizes.append(sum(_bits(state[n], scale * step) for n, step in relative.items()) / 8)
        exponents.append(exponents[-1] + _OCTAVES)
    known = np.array(sizes[::-1]), np.array(exponents[-2::-1])
    return lambda size_bytes: float(2 ** np.interp(size_bytes, *known))


def _bits(weight: Tensor, step: float) -> float:
    steps = in_steps(weight.flatten(), whole_step(weight, step)).round().to(torch.int64)
    return entropy_bits(np.bincount(steps.numpy() + MOST_STEPS))
