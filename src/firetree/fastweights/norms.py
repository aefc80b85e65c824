"""Vectors scaled to one length, with the same epsilons for every dtype.

Squares of numbers above 1e19 overflow in float32 and those of half precision are coarse. So squares are
taken of vectors whose largest number is at most 1, in float32 at least.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNIT_EPSILON = 1e-6
"""Added to a squared length: a zero vector stays 0, and its gradient grows by 1,000 at most."""

RMS_EPSILON = 1e-5
"""Added to a mean square, as torch.nn.LayerNorm adds it to the variance."""

_MOST_SQUARED = 1e12


def unit(x: Tensor) -> Tensor:
    """x / √(|x|² + ε) along the last axis."""
    return _scaled(x, UNIT_EPSILON, mean=False)


def unit_rms(x: Tensor) -> Tensor:
    """x / √(mean x² + ε) along the last axis."""
    return _scaled(x, RMS_EPSILON, mean=True)


def within_unit_circle(x: Tensor) -> Tensor:
    """Complex numbers (…, 2, K), those longer than 1 cut to length 1."""
    scale = _largest(x, -2)
    small = x / scale
    square = small.square().sum(-2, keepdim=True)
    return small * torch.maximum(square, scale.reciprocal().square()).rsqrt()


def in_reach(x: Tensor) -> Tensor:
    """The vectors along the last axis, scaled down where a layer normalisation could not square them.

    It gives the same for both.
    """
    return x / (_largest(x, -1) / _MOST_SQUARED).clamp(min=1)


def _scaled(x: Tensor, epsilon: float, mean: bool) -> Tensor:
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = _largest(exact, -1)
    small = exact / scale
    square = small.square().mean(-1, keepdim=True) if mean else small.square().sum(-1, keepdim=True)
    return (small * (square + epsilon / scale / scale).rsqrt()).to(x.dtype)


def _largest(x: Tensor, axis: int) -> Tensor:
    """The largest magnitude along an axis, or 1; no result depends on it but for rounding."""
    return x.detach().abs().amax(axis, keepdim=True).clamp(min=1)
