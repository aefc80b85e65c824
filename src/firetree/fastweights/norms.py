"""Normalise vectors, with the same epsilons for every dtype.

Squares above 1e38 overflow in float32, and squares in half precision are coarse. So vectors are scaled
to a largest element of at most 1 before they are squared, in float32 or better.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNIT_EPSILON = 1e-6
"""Added to a squared length: a zero vector stays 0, and gradients grow at most 1,000 times."""

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
    """Complex numbers (…, 2, K), with magnitudes above 1 reduced to 1."""
    scale = _largest(x, -2)
    small = x / scale
    square = small.square().sum(-2, keepdim=True)
    return small * torch.maximum(square, scale.reciprocal().square()).rsqrt()


def in_reach(x: Tensor) -> Tensor:
    """Scale down vectors that are too large for layer normalisation to square; its result is the same."""
    return x / (_largest(x, -1) / _MOST_SQUARED).clamp(min=1)


def _scaled(x: Tensor, epsilon: float, mean: bool) -> Tensor:
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = _largest(exact, -1)
    small = exact / scale
    square = small.square().mean(-1, keepdim=True) if mean else small.square().sum(-1, keepdim=True)
    return (small * (square + epsilon / scale / scale).rsqrt()).to(x.dtype)


def _largest(x: Tensor, axis: int) -> Tensor:
    """The largest magnitude along an axis, at least 1; it affects results only by rounding."""
    return x.detach().abs().amax(axis, keepdim=True).clamp(min=1)
