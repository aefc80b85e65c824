"""Which of our networks a list of layers is: by the shapes of its weights, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.weights.published import Preprocessing, Published, shapes

_CANDIDATES = (
    "squeezenet_v1_0",
    "squeezenet_v1_1",
    "alexnet_one_tower",
    "alexnet_grouped",
    "alexnet",
)


def recognise(
    layers: Sequence[tuple[Tensor, Tensor]],
    preprocessing: Preprocessing,
    fields: Mapping[str, Any],
    source: str,
) -> Published:
    """The model whose layers have these weights and biases, in the order of the forward pass.

    Args:
        fields: what the source's SqueezeNets have otherwise than ours.
        source: what to call the file in an error.

    Raises:
        UserError: none of our networks has such layers.
    """
    right = all(bias.dim() == 1 and len(bias) for _, bias in layers)
    if layers and layers[0][0].dim() == 4 and right:
        classes, channels = len(layers[-1][1]), layers[0][0].shape[1]
        for network in _CANDIDATES:
            expected = shapes(network, {}, classes, channels, preprocessing.crop)
            tensors = [tensor for layer in layers for tensor in layer]
            if [tuple(tensor.shape) for tensor in tensors] == list(expected.values()):
                state = {n: t.float().contiguous() for n, t in zip(expected, tensors, strict=True)}
                own = fields if network.startswith("squeezenet") else {}
                return Published(network, state, preprocessing, own)
    raise UserError(
        f"{source} holds {len(layers)} layers that are none of {', '.join(_CANDIDATES)}; "
        "expected the weights of one of these"
    )


def in_order(state: Mapping[str, Tensor], names: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the layers of these names; without a bias, an empty one."""
    return [(state[f"{name}.weight"], state.get(f"{name}.bias", torch.zeros(0))) for name in names]
