"""Which weights of a network stay when the smallest are set to zero (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["layer", "global"]
"""Whether a weight is compared with those of its layer, or with those of all layers."""


@torch.no_grad()
def largest(weights: Sequence[Tensor], density: float, scope: Scope = "layer") -> list[Tensor]:
    """For each tensor, True where a weight is among the share `density` (0 to 1) of largest magnitude.

    Each keeps its largest weight in any case.
    """
    magnitudes = [tensor.abs() for tensor in weights]
    if scope == "layer":
        return [one >= _threshold(one.flatten(), density) for one in magnitudes]
    common = _threshold(torch.cat([one.flatten() for one in magnitudes]), density)
    return [one >= torch.minimum(common, one.max()) for one in magnitudes]


def _threshold(magnitude_N: Tensor, density: float) -> Tensor:
    count = max(1, round(density * len(magnitude_N)))
    return magnitude_N.kthvalue(len(magnitude_N) - count + 1).values
