"""State dicts of torchvision's SqueezeNets and AlexNet; a `.pth` is read without running anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.weights.layers import in_order, recognise
from firetree.weights.published import TORCHVISION, Published

FIELDS = {"conv10_padding": 0}
"""torchvision's SqueezeNet v1.0 does not pad its last convolution."""


def read_pth(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth`, by torch's unpickler that knows tensors alone.

    Raises:
        UserError: not a state dict, a damaged one, or one that would run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler lets through whatever a damaged file makes of it
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise UserError(
            f"cannot read {path}: {reason or type(error).__name__}; expected a state dict of "
            "tensors alone"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(f"{path} holds no state dict; expected tensors by name")
    return state


def read_state(state: Mapping[str, Tensor], source: str) -> Published:
    """The model behind a state dict with torchvision's names, in the order of its modules.

    Raises:
        UserError: the layers are none of our networks'.
    """
    names = sorted(
        {name.rpartition(".")[0] for name in state if name.endswith(".weight")}, key=_place
    )
    return recognise(in_order(state, names), TORCHVISION, FIELDS, source)


def _place(name: str) -> tuple[bool, list[int], bool, str]:
    """Features before classifier, by number; a fire module's squeeze before its expand."""
    numbers = [int(number) for number in re.findall(r"\.([0-9]{1,9})", name)]
    return name.startswith("classifier"), numbers, "squeeze" not in name, name
