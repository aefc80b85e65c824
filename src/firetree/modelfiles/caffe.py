"""The layers of Caffe's SqueezeNets and AlexNets, by their names: `fire2/squeeze1x1.weight`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = ("squeeze", "expand1x1", "expand3x3")


def layers(names: Iterable[str]) -> list[str]:
    """The layers behind names of tensors, in the order of the forward pass."""
    weights = (name for name in names if re.match(r"(conv|fire|fc)[0-9].*\.weight$", name))
    return sorted((name.removesuffix(".weight") for name in weights), key=_place)


def _place(name: str) -> tuple[int, int]:
    """Where a layer stands: by the number in its name, then squeeze before expand."""
    module, _, part = name.partition("/")
    digits = "".join(re.findall(r"[0-9]", module)[:9])
    place = next((k for k, start in enumerate(_PARTS) if part.startswith(start)), 0)
    return int(digits or 0), place
