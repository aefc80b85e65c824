"""Recognise one of our networks by the shapes of its layers' weights, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.modelfiles.model import Model, shapes
from firetree.modelfiles.preprocessing import Preprocessing, for_channels, in_words

Layers = Mapping[str, tuple[Tensor, Tensor]]
"""Weight and bias of each layer by its name in the file, in the order of the forward pass."""

_CANDIDATES = (
    "squeezenet_v1_0",
    "squeezenet_v1_1",
    "alexnet_one_tower",
    "alexnet_grouped",
    "alexnet",
)


def recognise(
    layers: Layers, preprocessing: Preprocessing, fields: Mapping[str, Any]
) -> Model | None:
    """The model with these weights and biases; None where none of our networks has such layers.

    The file determines the numbers of classes and channels; one channel means grey images.

    Args:
        fields: in which the source's SqueezeNets differ from ours.

    Raises:
        UserError: the layers fit, but hold no floats, or have other channels than 1 or 3.
    """
    tensors = {
        f"{n}.{kind}": t for n, both in layers.items() for kind, t in zip(_KINDS, both, strict=True)
    }
    for network in _CANDIDATES if tensors else ():
        expected = _expected(network, layers, preprocessing)
        if [tuple(tensor.shape) for tensor in tensors.values()] == list(expected.values()):
            channels = next(iter(tensors.values())).shape[1]
            state = {n: as_floats(*item) for n, item in zip(expected, tensors.items(), strict=True)}
            prepared = for_channels(preprocessing, channels)
            own = fields if network.startswith("squeezenet") else {}
            return Model(network, state, prepared, own, notes=(assumed(prepared),))
    return None


def refusal(layers: Layers, source: str, like: str | None, others: Sequence[str] = ()) -> UserError:
    """The error that no network of ours fits, with the nearest one's first shape that differs.

    Args:
        source: what to call the file.
        like: what it looks like instead.
        others: networks that the reader knows besides.
    """
    hint = f"; it looks like {like}" if like else _first_other_shape(layers)
    return UserError(
        f"{source} holds {len(layers)} layers that are none of {', '.join([*_CANDIDATES, *others])}{hint}; "
        "expected the weights of one of these"
    )


def with_biases(state: Mapping[str, Tensor], names: list[str]) -> Layers:
    """Weight and bias of the layers of these names; without a bias, an empty one."""
    return {n: (state[f"{n}.weight"], state.get(f"{n}.bias", torch.zeros(0))) for n in names}


def as_floats(name: str, tensor: Tensor) -> Tensor:
    """A contiguous copy in float32.

    Raises:
        UserError: whole numbers, as in a quantised model, or a tensor that is not dense.
    """
    if tensor.is_meta:
        raise UserError(f"{name} has a shape and no values (torch's meta device); save them too")
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(
            f"{name} holds {kind}, {tensor.layout}; expected dense floats, as of a model before it "
            "is quantised"
        )
    return tensor.detach().to(torch.float32, copy=True).contiguous()


def assumed(preprocessing: Preprocessing) -> str:
    """The note on a file that does not say how its images are prepared."""
    return f"it does not say how images are prepared; assumed: {in_words(preprocessing)}"


_KINDS = ("weight", "bias")


def _expected(
    network: str, layers: Layers, preprocessing: Preprocessing
) -> dict[str, tuple[int, ...]]:
    """The network's shapes with the classes and channels of these layers."""
    (first, _), (_, last) = next(iter(layers.values())), list(layers.values())[-1]
    channels = first.shape[1] if first.dim() == 4 else 0
    if last.dim() != 1 or not len(last) or not channels:
        return {}
    return shapes(network, {}, len(last), channels, preprocessing.crop)


def _first_other_shape(layers: Layers) -> str:
    """The end of a sentence: where the nearest network of so many layers first differs from these."""
    shapes_of_layers = [
        (f"{name}.{kind}", tuple(tensor.shape))
        for name, both in layers.items()
        for kind, tensor in zip(_KINDS, both, strict=True)
    ]
    classes = next((shape[0] for _, shape in shapes_of_layers[-2:] if shape), 1)
    nearest: tuple[int, str] = (-1, "")
    for network in _CANDIDATES if layers and classes else ():
        expected = list(shapes(network, {}, classes, 3, 224).values())
        if len(expected) != len(shapes_of_layers):
            continue
        other = [
            f": {name} is {shape if shape != (0,) else 'missing'}, in {network} {its}"
            for (name, shape), its in zip(shapes_of_layers, expected, strict=True)
            if shape != its
        ]
        nearest = max(nearest, (len(shapes_of_layers) - len(other), other[0] if other else ""))
    return nearest[1]
