"""The learning rate of a step: a linear warm-up, then one of four rules."""

from __future__ import annotations

import math

from firetree.train.recipe import OptimRecipe


def learning_rate(optim: OptimRecipe, step: int, total_steps: int, epoch_steps: int) -> float:
    """Learning rate of step `step`, counted from 0, of a run of `total_steps`.

    The polynomial rule with power 1 is SqueezeNet's solver: a straight line to 0 (arXiv 1602.07360);
    the warm-up is that of Goyal et al. 2017, section 2.2 (gradual).
    """
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    done = (step - optim.warmup_steps) / max(1, total_steps - optim.warmup_steps)
    match optim.rule:
        case "polynomial":
            return float(optim.lr * (1 - done) ** optim.power)
        case "cosine":
            return optim.lr * (1 + math.cos(math.pi * done)) / 2
        case "step":
            return float(
                optim.lr * optim.step_factor ** (step // (epoch_steps * optim.step_epochs))
            )
        case "constant":
            return optim.lr
