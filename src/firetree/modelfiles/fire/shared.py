"""A tensor whose weights share few values, as a code for each weight and a codebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.modelfiles.fire.numbers import Floats, to_half
from firetree.modelfiles.model import Model

MOST_VALUES = 255
"""Values besides zero, whose code is 0; a code is a byte."""

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shared:
    """Weight n is 0 where its code is 0, else `codebook[code - 1]`. The codebook ascends."""

    shape: tuple[int, ...]
    codes: Codes
    """One for each weight, in one row."""
    codebook: Floats

    @property
    def density(self) -> float:
        """The share of weights that are not zero."""
        return float(np.count_nonzero(self.codes) / max(len(self.codes), 1))

    def dense(self) -> Tensor:
        """The weights themselves."""
        values = np.concatenate([np.zeros(1, np.float32), self.codebook])
        return torch.from_numpy(values[self.codes].reshape(self.shape))


@dataclass(frozen=True, slots=True)
class Compressed:
    """A model as a `.fire` holds it. `model.state` is empty; tensors have codes or are plain."""

    model: Model
    tensors: Mapping[str, Shared | Tensor]

    def expand(self) -> Model:
        """The model with all its weights."""
        return replace(
            self.model,
            state={
                name: tensor.dense() if isinstance(tensor, Shared) else tensor
                for name, tensor in self.tensors.items()
            },
        )


def halved(tensor: Tensor) -> Tensor:
    """The tensor in floats of 16 bits, or unchanged where a number is out of their range."""
    return torch.from_numpy(to_half(tensor.numpy()))


def share_exactly(tensor: Tensor) -> Shared | None:
    """The same tensor to the last bit, or None where it has more values than codes."""
    bits = np.ascontiguousarray(tensor.numpy(), np.float32).view(np.uint32).ravel()
    values = np.unique(bits[bits != 0]).view(np.float32)
    if len(values) > MOST_VALUES:
        return None
    # By its bits, -0.0 is a value of its own; 0.0 is in no codebook.
    codebook = values[np.argsort(values, kind="stable")]
    order = np.argsort(codebook.view(np.uint32))
    indices = order[np.searchsorted(codebook.view(np.uint32)[order], bits[bits != 0])]
    codes = np.zeros(len(bits), np.uint8)
    codes[bits != 0] = indices + 1
    return Shared(tuple(tensor.shape), codes, codebook)


def keep_exactly(model: Model) -> Compressed:
    """The model to the last bit: tensors of few values with codes, all others unchanged."""
    tensors = {
        name: (share_exactly(tensor) if tensor.dim() > 1 else None)
        for name, tensor in model.state.items()
    }
    return Compressed(
        replace(model, state={}),
        {name: model.state[name] if it is None else it for name, it in tensors.items()},
    )
