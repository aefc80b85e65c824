"""The learning rate of a step: a linear warm-up to its peak, then one of four rules."""

from __future__ import annotations

import math

from firetree.training.recipe import OptimRecipe


def learning_rate(optim: OptimRecipe, step: int, total_steps: int, epoch_steps: int) -> float:
    """Learning rate of step `step`, counted from 0, of a run of `total_steps`.

    The polynomial rule with power 1 is SqueezeNet's solver: a straight line to 0 (arXiv 1602.07360);
    the warm-up is that of Goyal et al. 2017, section 2.2 (gradual).
    """
    peak, warmup_steps = peak_rate(optim), round(optim.warmup_epochs * epoch_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    match optim.rule:
        case "polynomial":
            return float(peak * (1 - done) ** optim.power)
        case "cosine":
            return peak * (1 + math.cos(math.pi * done)) / 2
        case "step":
            return float(peak * optim.step_factor ** (step // (epoch_steps * optim.step_epochs)))
        case "constant":
            return peak


def peak_rate(optim: OptimRecipe) -> float:
    """The highest learning rate: the recipe's, which is meant for `base_batch`, scaled by its rule.

    For a batch k times as large, linear scaling takes k times the rate (Goyal et al. 2017, section
    2.1), as does LARS; the square root of k is Krizhevsky's (2014) and LAMB's (You et al. 2019).
    """
    k = optim.batch_size / optim.base_batch
    match optim.batch_rule:
        case "linear" | "lars":
            return optim.lr * k
        case "sqrt" | "lamb":
            return optim.lr * math.sqrt(k)
        case "none":
            return optim.lr
