"""Networks by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from firetree.errors import UserError, nearest
from firetree.models.squeezenet import SqueezeNet, SqueezeNetShape, Stem, fit

__all__ = ["build", "names", "parameter_count"]

SMALLEST_SIZE = 8
"""Pixels a side; pooled twice, smaller pictures would be down to one cell."""

_SHAPES = {
    "squeezenet_v1_0": SqueezeNetShape(Stem(96, 7, 2, 0), pools=(1, 4, 8), conv10_padding=1),
    "squeezenet_v1_1": SqueezeNetShape(Stem(64, 3, 2, 0), pools=(1, 3, 5)),
    # For pictures of 8 to 64 pixels on ordinary processors.
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


def names() -> tuple[str, ...]:
    """The names of all networks that `build` knows."""
    return tuple(sorted(_SHAPES))


def build(name: str, *, classes: int, channels: int, size: int, **overrides: Any) -> nn.Module:
    """A network that turns pictures (B, channels, size, size) into logits (B, classes).

    The published networks have 1,248,424 (v1.0) and 1,235,496 (v1.1) parameters for 1,000 classes
    of colour pictures. Below 100 pixels every network gets a stem that keeps small pictures' detail.

    Args:
        name: one of `names()`.
        overrides: fields of `SqueezeNetShape` (base_e, incr_e, freq, pct_3x3, squeeze_ratio, bypass,
            dropout); None keeps the named network's own.

    Raises:
        UserError: an unknown name, pictures below 8 pixels, or a field outside its range.
    """
    if name not in _SHAPES:
        raise UserError(f"no network '{name}'{nearest(name, names())}")
    if size < SMALLEST_SIZE:
        raise UserError(f"pictures of {size} pixels; expected at least {SMALLEST_SIZE} a side")
    if classes < 1 or channels < 1:
        raise UserError(f"{classes} classes and {channels} channels; expected at least one of each")
    given = {field: value for field, value in overrides.items() if value is not None}
    shape = replace(fit(_SHAPES[name], size), **given)
    return SqueezeNet(shape, classes=classes, channels=channels)


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers of the network."""
    return sum(parameter.numel() for parameter in model.parameters())
