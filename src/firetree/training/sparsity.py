"""Training with the smallest weights held at zero, for a part of a run or to its end.

Sparse to the end it is pruning with retraining (Han et al. 2015); with dense steps behind it, it is
dense–sparse–dense training (Han et al. 2016, algorithm 1). With a ramp, the density falls step by step
(Zhu and Gupta 2017, arXiv 1710.01878).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firetree.models.pruning import largest
from firetree.training.recipe import SparseRecipe

_RAMP_STEPS = 16
"""Between two choices while the density falls."""


class Sparsity:
    """Holds all but the largest weights at zero; biases and other vectors stay.

    Which weights these are follows from the weights alone, so that all ranks agree, and a resumed run
    finds the same ones again: those that are zero. One that was dense so far has fewer, and chooses.
    """

    def __init__(self, model: nn.Module, recipe: SparseRecipe, epoch_steps: int):
        self._recipe = recipe
        self._weights = _weights(model)
        self._first = round(recipe.first_epoch * epoch_steps)
        self._ramp_steps = round(recipe.ramp_epochs * epoch_steps)
        last = recipe.last_epoch
        self._end = math.inf if last is None else round(last * epoch_steps)
        self._masks: list[Tensor] = []

    def choose(self, step: int) -> None:
        """Call it before step `step`, counted from 0: which weights are held at zero after it."""
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
    def hold(self, model: nn.Module) -> None:
        """Call it with the model, or an average of it, whenever all its weights have moved."""
        for weights, mask in zip(_weights(model), self._masks, strict=False):
            weights.mul_(mask)

    def _density(self, since: int) -> float:
        """Equation 1 there: zeros grow with what is left of the ramp in its third power."""
        assert self._recipe.density is not None
        left = 1 - since / self._ramp_steps if self._ramp_steps else 0.0
        return self._recipe.density + (1 - self._recipe.density) * left**3


def _count(masks: list[Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks)


def _size(masks: list[Tensor]) -> int:
    return sum(mask.numel() for mask in masks)


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
