"""What a network is called with: a tensor, a tuple of arguments, or a mapping of named ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from firetree.models.outputs import tensors

Inputs: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call(network: Callable[..., Any], inputs: Inputs) -> Any:
    """What the network gives."""
    if isinstance(inputs, Tensor):
        return network(inputs)
    return network(**inputs) if isinstance(inputs, Mapping) else network(*inputs)


def mapped(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    """The same tuples, lists and mappings with other tensors; anything else stays as it is."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {name: mapped(function, value) for name, value in values.items()}
    if isinstance(values, tuple | list):
        found = [mapped(function, value) for value in values]
        return type(values)(*found) if hasattr(values, "_fields") else type(values)(found)
    return values


def rows_of(values: Any, rows: slice) -> Any:
    """These samples of all tensors; one without axes stays as it is."""
    return mapped(lambda tensor: tensor[rows] if tensor.dim() else tensor, values)


def batch_of(inputs: Any) -> int:
    """The length of the first axis of the first tensor; 0 where there is none."""
    return next((len(tensor) for tensor in tensors(inputs) if tensor.dim()), 0)


def shapes_of(inputs: Any) -> str:
    """The tensors' shapes, as in `(2, 3), (2,)`."""
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors(inputs))
