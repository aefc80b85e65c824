"""What a network is called with: a tensor, a tuple of arguments, or a mapping of named ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from firetree.models.outputs import tensors

Inputs: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call(module: nn.Module, inputs: Inputs) -> object:
    """What the network gives."""
    if isinstance(inputs, Tensor):
        return module(inputs)
    return module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)


def batch_of(inputs: Inputs) -> int:
    """The length of the first axis of the first tensor; 0 where there is none."""
    return next((len(tensor) for tensor in tensors(inputs) if tensor.dim()), 0)


def shapes_of(inputs: Inputs) -> str:
    """The tensors' shapes, as in `(2, 3), (2,)`."""
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors(inputs))
