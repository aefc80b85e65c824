"""Finds where a NaN or an infinity began, once a loss or gradient has one.

A rank with a NaN or infinite loss sends NaN gradients, so all ranks see it at the same step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firetree.errors import RunFailedError
from firetree.models import tensors
from firetree.models.inputs import Inputs, call
from firetree.peers import gather_json


class NotFiniteError(RunFailedError):
    """A loss or gradient is NaN or infinite; the weights are as they were before the step."""


def not_finite(model: nn.Module, x: Inputs, loss: float, step: int) -> NotFiniteError:
    """The same error on every rank; all call it together, each with its own batch and loss.

    It names the first layer whose output has a NaN or infinity. If no output has one, it names the last
    parameter whose gradient has one, which the backward pass met first.
    """
    mine = loss, None if math.isfinite(loss) else first_layer(model, x)
    for rank, (its_loss, layer) in enumerate(gather_json(mine)):
        if not math.isfinite(its_loss):
            where = f" in layer {layer}" if layer else ""
            return NotFiniteError(
                f"the loss is {its_loss} at step {step}, first{where} on rank {rank}; lower optim.lr"
            )
    named = [name for name, p in model.named_parameters() if not _is_finite(p.grad)]
    # If each gradient is finite, the sum of their squares overflows.
    what = f"gradient of {named[-1]}" if named else "norm of all gradients"
    return NotFiniteError(f"the {what} is not finite at step {step}; lower optim.lr")


@torch.no_grad()
def first_layer(model: nn.Module, x: Inputs) -> str | None:
    """The first layer whose output has a NaN or infinity, by name; None if none has."""
    found: list[str] = []
    handles = [
        module.register_forward_hook(
            lambda _, __, output, name=name: (
                found.append(name) if not all(map(_is_finite, tensors(output))) else None
            )
        )
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        call(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _is_finite(values: Tensor | None) -> bool:
    return values is None or bool(torch.isfinite(values).all())
