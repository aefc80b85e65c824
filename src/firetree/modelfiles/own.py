"""Recognise networks of `firetree.models` that a script has trained, by their own tensors' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from firetree import models
from firetree.modelfiles.layers import as_floats, assumed
from firetree.modelfiles.model import Model, shapes
from firetree.modelfiles.preprocessing import TORCHVISION, for_channels
from firetree.models.batch_norm import folded

_SMALL_SIZE = 32
_SMALL = replace(TORCHVISION, resize=_SMALL_SIZE, crop=_SMALL_SIZE)


def read_state(state: Mapping[str, Tensor]) -> Model | None:
    """The model with these tensors, its batch normalisation folded; None for other networks.

    Weights do not determine the image size: it is 224 pixels a side where that fits, else 32.

    Raises:
        UserError: tensors that are not floats, or other channels than 1 or 3.
    """
    plain = folded(state)
    for network in models.names():
        for preprocessing in (_SMALL,) if network == "squeezenet_small" else (TORCHVISION, _SMALL):
            described = Model(network, {}, preprocessing)
            names = list(shapes(network, {}, 1, 3, preprocessing.crop))
            if not plain.keys() >= {*names}:
                break
            first, last = plain[names[0]], plain[names[-1]]
            if first.dim() != 4 or last.dim() != 1 or not first.shape[1] or not len(last):
                break
            expected = shapes(network, {}, len(last), first.shape[1], preprocessing.crop)
            if all(tuple(plain[name].shape) == shape for name, shape in expected.items()):
                prepared = for_channels(preprocessing, first.shape[1])
                tensors = {name: as_floats(name, plain[name]) for name in names}
                return replace(
                    described, state=tensors, preprocessing=prepared, notes=(assumed(prepared),)
                )
    return None
