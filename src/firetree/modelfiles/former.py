"""What `firetree.weights` had, and `firetree.weights.published`; see `firetree.former_names`."""

from __future__ import annotations

from torch import nn

from firetree.modelfiles import Model, Preprocessing, load_model

__all__ = ["Preprocessing", "Published", "build", "load"]

__path__: list[str] = []
"""As of a package, in which `firetree.weights.published` is looked for."""

Published = Model
load = load_model


def build(model: Model) -> nn.Module:
    """The network with its weights, in evaluation mode."""
    return model.build()
