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

    Every tensor keeps at least its largest weight. Of equal weights the first ones stay.
    """
    rows = [tensor.abs().flatten() for tensor in weights]
    if scope == "layer":
        chosen = [_largest(row_N, density) for row_N in rows]
    else:
        together = torch.split(_largest(torch.cat(rows), density), [*map(len, rows)])
        chosen = [one | _largest(row_N, 0.0) for one, row_N in zip(together, rows, strict=True)]
    return [one.view(tensor.shape) for one, tensor in zip(chosen, weights, strict=True)]


def _largest(magnitude_N: Tensor, density: float) -> Tensor:
    count = max(1, round(density * len(magnitude_N)))
    chosen_N = torch.zeros_like(magnitude_N, dtype=torch.bool)
    chosen_N[magnitude_N.argsort(descending=True, stable=True)[:count]] = True
    return chosen_N
