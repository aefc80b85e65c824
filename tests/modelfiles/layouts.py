"""Networks by the names that others give their layers."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from firetree import models

PLACES = {
    "squeezenet_v1_0": (3, 4, 5, 7, 8, 9, 10, 12),
    "squeezenet_v1_1": (3, 4, 6, 7, 9, 10, 11, 12),
}
"""Where the fire modules stand among torchvision's features."""


def fresh(network: str, size: int = 227, classes: int = 10, channels: int = 3) -> dict[str, Tensor]:
    """By our names; the same each time."""
    torch.manual_seed(0)
    built = models.build(network, classes=classes, channels=channels, size=size)
    return dict(built.state_dict())


def torchvisions(network: str, classes: int = 10, channels: int = 3) -> dict[str, Tensor]:
    """The same weights by torchvision's names."""
    ours = fresh(network, classes=classes, channels=channels)
    return {torchvisions_name(network, name): tensor for name, tensor in ours.items()}


def torchvisions_name(network: str, name: str) -> str:
    places = dict(zip(range(2, 10), PLACES[network], strict=True))
    name = name.replace("conv10.", "classifier.1.").replace("conv1.", "features.0.")
    name = re.sub(r"fire(\d)", lambda k: f"features.{places[int(k[1])]}", name)
    return name.replace("squeeze1x1", "squeeze")
