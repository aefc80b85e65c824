"""Training with the smallest weights held at zero, for a part of a run or to its end.

Sparse to the end it is pruning with retraining (Han et al. 2015); with dense steps behind it, it is
dense–sparse–dense training (Han et al. 2016, algorithm 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firetree.train.recipe import SparseRecipe


class Sparsity:
    """Holds all but the largest weights of each layer at zero; biases and other vectors stay.

    Which weights these are follows from the weights alone, so that all ranks agree, and a resumed run
    finds the same ones again: those that are zero.
    """

    def __init__(self, model: nn.Module, recipe: SparseRecipe, epoch_steps: int):
        assert recipe.density is not None
        self._density = recipe.density
        self._weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        self._first = round(recipe.first_epoch * epoch_steps)
        last = recipe.last_epoch
        self._end = math.inf if last is None else round(last * epoch_steps)
        self._masks: list[Tensor] = []

    def choose(self, step: int) -> None:
        """Call it before step `step`, counted from 0: which weights are held at zero after it."""
        if not self._first <= step < self._end:
            self._masks = []
        elif step == self._first:
            self._masks = [largest(weights, self._density) for weights in self._weights]
        elif not self._masks:
            self._masks = [weights != 0 for weights in self._weights]

    @torch.no_grad()
    def hold(self) -> None:
        """Call it after every step of the optimiser, which moves all weights."""
        for weights, mask in zip(self._weights, self._masks, strict=False):
            weights.mul_(mask)


@torch.no_grad()
def largest(weights: Tensor, density: float) -> Tensor:
    """True where a weight is among the share `density` (0 to 1) of largest magnitude; same shape."""
    count = max(1, round(density * weights.numel()))
    magnitudes = weights.abs().flatten()
    threshold = magnitudes.kthvalue(magnitudes.numel() - count + 1).values
    return weights.abs() >= threshold
