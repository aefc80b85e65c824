"""A network's layers, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Iterable


def layer_of(parameter: str) -> str:
    """The layer that has the parameter of this name; one of the model itself is a layer of its own."""
    return parameter.rpartition(".")[0] or parameter


def backbone(parameters: Iterable[str]) -> frozenset[str]:
    """All but those of the last layer; names are in the network's order."""
    known = [*parameters]
    last = layer_of(known[-1])
    return frozenset(name for name in known if layer_of(name) != last)
