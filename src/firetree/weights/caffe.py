"""Weights by Caffe's names: `fire2/squeeze1x1.weight`, filters as (out, in, height, width)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from firetree.weights.layers import in_order, recognise
from firetree.weights.published import CAFFE, Published

_PARTS = ("squeeze", "expand1x1", "expand3x3")


def read_state(state: Mapping[str, Tensor], source: str) -> Published:
    """The model behind a state dict with Caffe's names; its input is BGR minus the mean colour.

    Raises:
        UserError: the layers are none of our networks'.
    """
    names = sorted({name.rpartition(".")[0] for name in state}, key=_place)
    names = [name for name in names if f"{name}.weight" in state]
    return recognise(in_order(state, names), CAFFE, {}, source)


def _place(name: str) -> tuple[int, int]:
    """Where a layer stands: by the number in its name, then squeeze before expand."""
    module, _, part = name.partition("/")
    digits = "".join(re.findall(r"[0-9]", module)[:9])
    place = next((k for k, start in enumerate(_PARTS) if part.startswith(start)), 0)
    return int(digits or 0), place
