"""Layers by name: what a trace calls the gradients of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice

from torch import nn
from torch.distributed import GradBucket

from firetree.models.layer_names import layer_of
from firetree.trace import MOST_LAYERS, LayerBytes

BucketLayers = Mapping[int, tuple[str, ...]]
"""For each bucket, by its index, the names of its layers."""

_MOST_NAMES = 8
"""Layers that a bucket names."""


def largest_layers(model: nn.Module) -> tuple[LayerBytes, ...]:
    """The layers with the most bytes of gradients, the largest first."""
    found = Counter[str]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[layer_of(name)] += parameter.nbytes
    return tuple(LayerBytes(*it) for it in found.most_common(MOST_LAYERS))


class LayerNames:
    """Names the layers of a model's buckets."""

    def __init__(self, model: nn.Module):
        self._layers = {id(it): layer_of(name) for name, it in model.named_parameters()}

    def of(self, bucket: GradBucket) -> tuple[str, ...]:
        """The layers of a bucket, those with the most bytes first."""
        parameters = sorted(bucket.parameters(), key=lambda it: -it.nbytes)
        names = dict.fromkeys(self._layers.get(id(it), "") for it in parameters)
        return tuple(islice(filter(None, names), _MOST_NAMES))
