"""Networks that classify images, by name."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from firetree.errors import UserError, nearest
from firetree.models import timm_networks
from firetree.models.alexnet import AlexNet
from firetree.models.classic import (
    CLASSIC_STEM_SIZE,
    SMALLEST_SIZE,
    THREE_POOL_SIZE,
    UNSTRIDED_SIZE,
)
from firetree.models.families import NORMALISED, given
from firetree.models.googlenet import GoogLeNet
from firetree.models.mobilenet import MobileNetV2, MobileNetV3Small
from firetree.models.nin import NetworkInNetwork
from firetree.models.resnet import ResNet
from firetree.models.squeezenet import SqueezeNet, SqueezeNetShape, Stem, fit
from firetree.models.vgg import VGG
from firetree.own_code import is_timm

_SQUEEZENETS = {
    "squeezenet_v1_0": SqueezeNetShape(Stem(96, 7, 2, 0), pools=(1, 4, 8), conv10_padding=1),
    "squeezenet_v1_1": SqueezeNetShape(Stem(64, 3, 2, 0), pools=(1, 3, 5)),
    # For images of 8 to 64 pixels on ordinary CPUs.
    # Widths change once only, so the simple bypass is around all fire modules but fire6. This is
    # what lets 18 layers without normalisation learn from scratch in a few hundred steps.
    "squeezenet_small": SqueezeNetShape(
        Stem(48, 3, 2, 1),
        pools=(1, 3, 5),
        base_e=48,
        incr_e=48,
        freq=4,
        squeeze_ratio=0.25,
        bypass="simple",
        dropout=0.0,
    ),
}

_OTHERS: Mapping[str, Callable[..., nn.Module]] = {
    "alexnet": AlexNet,
    "alexnet_grouped": partial(AlexNet, grouped=True),
    "alexnet_one_tower": partial(AlexNet, one_tower=True),
    "googlenet": GoogLeNet,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_small": MobileNetV3Small,
    "nin": NetworkInNetwork,
    "resnet18": partial(ResNet, depth=18),
    "resnet34": partial(ResNet, depth=34),
    "resnet50": partial(ResNet, depth=50),
    "vgg16": partial(VGG, depth=16),
    "vgg19": partial(VGG, depth=19),
}


def names() -> tuple[str, ...]:
    """The names of all networks that `build` knows."""
    return tuple(sorted([*_SQUEEZENETS, *_OTHERS]))


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    conv10_padding: int | None = None,
    **overrides: Any,
) -> nn.Module:
    """A network that turns images (B, channels, size, size) into logits (B, classes).

    From 100 pixels a side every network has its published form, whose number of parameters is in its
    class's docstring; ResNets and MobileNets from 65 on. Below, it gets a stem that keeps small images'
    detail, and the networks of FireCaffe get fewer filters. GoogLeNet gives `Outputs` in training mode.

    Args:
        name: one of `names()`, or `timm:NAME`.
        conv10_padding: of a SqueezeNet's last convolution; None keeps the named network's own.
        overrides: the fields that a recipe with this network has; None likewise.

    Raises:
        UserError: timm is not installed, an unknown name, images below 8 pixels, a field outside its range, or one that
            the network does not have.
    """
    if is_timm(name):
        return timm_networks.build(name, classes=classes, channels=channels, **overrides)
    if name not in names():
        raise UserError(f"no network '{name}'{nearest(name, names())}")
    if size < SMALLEST_SIZE:
        raise UserError(f"images of {size} pixels; expected at least {SMALLEST_SIZE} a side")
    if classes < 1 or channels < 1:
        raise UserError(f"{classes} classes and {channels} channels; expected at least one of each")
    own = given(name, overrides)
    if name not in _SQUEEZENETS:
        return _OTHERS[name](classes=classes, channels=channels, size=size, **own)
    shape = replace(fit(_SQUEEZENETS[name], size), **own)
    if conv10_padding is not None:
        shape = replace(shape, conv10_padding=conv10_padding)
    return SqueezeNet(shape, classes=classes, channels=channels)


def is_of_one_form(name: str, size: int, other_size: int) -> bool:
    """Whether `build` gives a network of this name the same layers for images of both sizes."""
    if is_timm(name):
        return True
    borders = (UNSTRIDED_SIZE + 1,) if name in NORMALISED else (THREE_POOL_SIZE, CLASSIC_STEM_SIZE)
    is_large_enough = min(size, other_size) >= SMALLEST_SIZE
    is_one_form = bisect(borders, size) == bisect(borders, other_size)
    return name in names() and is_large_enough and is_one_form


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers of the network."""
    return sum(parameter.numel() for parameter in model.parameters())
