"""The layers of torchvision's SqueezeNets and AlexNet, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

FIELDS = {"conv10_padding": 0}
"""torchvision's SqueezeNet v1.0 does not pad its last convolution."""


def layers(names: Iterable[str]) -> list[str]:
    """The layers behind names of tensors, in the order of the forward pass."""
    weights = (name for name in names if re.match(r"(features|classifier)\..*weight$", name))
    return sorted((name.removesuffix(".weight") for name in weights), key=_place)


def _place(name: str) -> tuple[bool, list[int], bool, str]:
    """Features before classifier, by number; a fire module's squeeze before its expand."""
    numbers = [int(number) for number in re.findall(r"\.([0-9]{1,9})", name)]
    return name.startswith("classifier"), numbers, "squeeze" not in name, name
