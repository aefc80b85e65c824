"""Training with the smallest weights held at zero, for a part of a run or to its end.

Sparse to the end, it is pruning with retraining (Han et al. 2015); with dense steps behind it, it is
dense–sparse–dense training (Han et al. 2016, algorithm 1). With a ramp, the density falls step by step
(Zhu and Gupta 2017, arXiv 1710.01878).
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from firetree.models.pruning import largest
from firetree.training.recipe import SparseRecipe
from firetree.training.step_part import StepPart

_RAMP_STEPS = 16
"""Steps between two choices while the density falls."""


class Sparsity(StepPart):
    """Holds all but the largest weights at zero, also in a moving average; biases and other vectors stay.

    The weights alone decide which these are, so all ranks agree, and a resumed run finds them again:
    those that are zero. A run that was dense so far has fewer zeros, and chooses.
    """

    def __init__(self, models: Collection[nn.Module], recipe: SparseRecipe, epoch_steps: int):
        self._recipe = recipe
        self._weights, *self._averaged = map(_weights, models)
        self._first = round(recipe.first_epoch * epoch_steps)
        self._ramp_steps = round(recipe.ramp_epochs * epoch_steps)
        last = recipe.last_epoch
        self._end = math.inf if last is None else round(last * epoch_steps)
        self._masks: list[Tensor] = []

    def before(self, step: int) -> None:
        """Choose the weights that are zero after this step."""
        if not self._first <= step < self._end:
            self._masks = []
            return
        since = step - self._first
        falling = since < self._ramp_steps
        last_choice = since - since % _RAMP_STEPS if falling else self._ramp_steps
        if since == last_choice or not self._masks:
            chosen = largest(self._weights, self._density(last_choice), self._recipe.scope)
            known = [weights != 0 for weights in self._weights]
            # A layer's largest weight stays in any case, and may be among the others' or not.
            sparse = _count(known) <= _count(chosen) + len(chosen) and _count(chosen) < _size(known)
            self._masks = known if sparse and since != last_choice else chosen

    @torch.no_grad()
    def after_step(self, step: int, looked_at: bool) -> None:
        """Set them to zero; the moving average has been updated before."""
        for weights in (self._weights, *self._averaged):
            for weight, mask in zip(weights, self._masks, strict=False):
                weight.mul_(mask)

    def _density(self, since: int) -> float:
        """Zhu and Gupta's equation 1: what is still dense falls with the third power of the ramp left."""
        assert self._recipe.density is not None
        left = 1 - since / self._ramp_steps if self._ramp_steps else 0.0
        return self._recipe.density + (1 - self._recipe.density) * left**3


def _count(masks: list[Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks)


def _size(masks: list[Tensor]) -> int:
    return sum(mask.numel() for mask in masks)


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
