"""Networks of timm by name, where it is installed: `timm:mobilenetv3_small_050`. No weights are downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from firetree import own_code
from firetree.errors import UserError, nearest
from firetree.extras import extra

_TOLD = ("num_classes", "in_chans", "pretrained", "checkpoint_path")
"""Arguments of timm that follow from the data, or that would bring weights."""


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """The network of this name with first weights: images (B, channels, H, W) to logits (B, classes).

    Args:
        arguments: others of timm, as `drop_rate` or `img_size`.

    Raises:
        UserError: timm cannot be imported, has no such network, or it does not take the arguments.
    """
    timm, own = _timm(), name.removeprefix(own_code.TIMM)
    if not timm.is_model(own):
        raise UserError(f"timm has no network '{own}'{nearest(own, timm.list_models())}")
    for argument in _TOLD:
        if argument in arguments:
            raise UserError(
                f"model.arguments.{argument} = {arguments[argument]}; timm is told by firetree, leave it out"
            )
    told = {"num_classes": classes, "in_chans": channels, "pretrained": False}
    network: nn.Module = own_code.run(name, partial(timm.create_model, own, **told, **arguments))
    return network


def usual_size(network: nn.Module) -> int:
    """Pixels a side of the images that one of timm's networks is for."""
    return int(network.default_cfg["input_size"][-1])  # type: ignore[index]


def _timm() -> Any:
    try:
        with extra("timm", "build networks of timm"):
            import timm
    except RuntimeError as error:  # of torchvision, which timm imports, beside another torch
        raise UserError(
            f"cannot build networks of timm: {own_code.one_line(error)}; install the torchvision that belongs "
            f"to torch {torch.__version__}"
        ) from error
    return timm
