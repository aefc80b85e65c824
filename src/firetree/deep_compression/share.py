"""Deep Compression's method: prune small weights, then share values by k-means (Han et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.errors import ArgumentError
from firetree.modelfiles import Model
from firetree.modelfiles.fire.numbers import to_half
from firetree.modelfiles.fire.shared import Compressed, Shared, halved
from firetree.models.pruning import Scope, largest

_ROUNDS = 30

Rows = npt.NDArray[np.float32]


def prune_and_share(model: Model, density: float, bits: int, scope: Scope = "layer") -> Compressed:
    """Keep the share `density` of largest weights, in 2^bits - 1 values a layer; other numbers get 16 bits.

    A tensor with a number out of the range of 16 bits keeps its 32.

    Raises:
        UserError: a density or a number of bits outside its range.
    """
    if not 0 < density <= 1:
        raise ArgumentError("density", f"is {density}; expected above 0 and at most 1")
    if not 1 <= bits <= 8:
        raise ArgumentError("bits", f"is {bits}; expected 1 to 8")
    tensors: Mapping[str, Shared | Tensor] = {
        name: share(tensor, 2**bits - 1) if tensor.dim() > 1 else halved(tensor)
        for name, tensor in prune(model.state, density, scope).items()
    }
    return Compressed(replace(model, state={}), tensors)


def prune(state: Mapping[str, Tensor], density: float, scope: Scope) -> dict[str, Tensor]:
    """The tensors with zeros in place of the smallest weights; biases stay."""
    names = [name for name, tensor in state.items() if tensor.dim() > 1]
    masks = largest([state[name] for name in names], density, scope)
    return {
        **state,
        **{n: torch.where(m, state[n], 0.0) for n, m in zip(names, masks, strict=True)},
    }


def share(weight: Tensor, values: int) -> Shared:
    """The non-zero weights in at most `values` values, in floats of 16 bits where these suffice.

    This is one-dimensional k-means. Its first centroids are evenly spread between the least and the
    largest weight, which keeps rare large weights (section 3.1 there).
    """
    row = weight.numpy().ravel()
    some = np.sort(row[row != 0])
    codebook = np.unique(to_half(_k_means(some, values))) if len(some) else some
    codes = np.zeros(len(row), np.uint8)
    codes[row != 0] = _nearest(row[row != 0], codebook) + 1
    return Shared(tuple(weight.shape), codes, codebook)


def _k_means(ascending: Rows, values: int) -> Rows:
    centroids = np.linspace(float(ascending[0]), float(ascending[-1]), values)
    total = np.concatenate([[0.0], np.cumsum(ascending, dtype=np.float64)])
    for _ in range(_ROUNDS):
        # A cluster of sorted weights is contiguous, so its mean is a difference of running sums.
        ends = np.searchsorted(ascending, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], ends, [len(ascending)]])
        counts = np.diff(edges)
        means = np.diff(total[edges]) / np.maximum(counts, 1)
        centroids = np.where(counts > 0, means, centroids)
    return centroids[counts > 0].astype(np.float32)


def _nearest(row: Rows, codebook: Rows) -> npt.NDArray[np.uint8]:
    exact = codebook.astype(np.float64)  # a sum of two large float32 may overflow
    return np.searchsorted((exact[1:] + exact[:-1]) / 2, row).astype(np.uint8)
