"""What of a network is its last layer, and what its backbone, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterable


def backbone(names: Iterable[str]) -> frozenset[str]:
    """All tensors but those of the last layer; names are in the network's order."""
    known = [*names]
    return frozenset(name for name in known if layer_of(name) != layer_of(known[-1]))


def layer_of(name: str) -> str:
    """`fire2.squeeze1x1` of `fire2.squeeze1x1.weight`."""
    return name.rpartition(".")[0]
