"""The layers of SqueezeNets and AlexNets that Caffe and torchvision published, by their tensors' names."""

from __future__ import annotations

import re
from collections.abc import Iterable

TORCHVISION_FIELDS = {"conv10_padding": 0}
"""torchvision's SqueezeNet v1.0 does not pad its last convolution."""

_CAFFE_PARTS = ("squeeze", "expand1x1", "expand3x3")


def caffe_layers(names: Iterable[str]) -> list[str]:
    """The layers behind names such as `fire2/squeeze1x1.weight`, in the order of the forward pass."""
    weights = (name for name in names if re.match(r"(conv|fire|fc)[0-9].*\.weight$", name))
    return sorted((name.removesuffix(".weight") for name in weights), key=_caffe_order)


def torchvision_layers(names: Iterable[str]) -> list[str]:
    """The layers behind names such as `features.3.squeeze.weight`, in the order of the forward pass."""
    weights = (name for name in names if re.match(r"(features|classifier)\..*weight$", name))
    return sorted((name.removesuffix(".weight") for name in weights), key=_torchvision_order)


def _caffe_order(name: str) -> tuple[int, int]:
    """By the number in the name, then squeeze before expand."""
    module, _, part = name.partition("/")
    digits = "".join(re.findall(r"[0-9]", module)[:9])
    rank = next((k for k, start in enumerate(_CAFFE_PARTS) if part.startswith(start)), 0)
    return int(digits or 0), rank


def _torchvision_order(name: str) -> tuple[bool, list[int], bool, str]:
    """Features before classifier, by number; a fire module's squeeze before its expand."""
    numbers = [int(number) for number in re.findall(r"\.([0-9]{1,9})", name)]
    return name.startswith("classifier"), numbers, "squeeze" not in name, name
