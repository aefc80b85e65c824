"""Sequence-to-sequence networks by name, with about equal numbers of parameters, and beam search."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

import torch

from firetree.errors import UserError, nearest
from firetree.models.families import given
from firetree.models.seq2seq.lstm import Attentive, DeltaRule, FastWeights, Recurrent
from firetree.models.seq2seq.network import PADDING, SequenceToSequence
from firetree.models.seq2seq.search import Found, search
from firetree.models.seq2seq.transformer import Transformer

__all__ = ["PADDING", "Found", "SequenceToSequence", "build", "names", "search"]

PARAMETERS = 1_000_000
"""Parameters of a network whose width is not given, as nearly as its width allows."""

_PREFIX = "seq2seq_"
_NETWORKS: Mapping[str, Callable[..., SequenceToSequence]] = {
    "lstm": Recurrent,
    "attention": Attentive,
    "transformer": Transformer,
    "fast_weights": FastWeights,
    "delta": DeltaRule,
}


def names() -> tuple[str, ...]:
    """The names of all networks: an LSTM without and with each kind of memory, and a transformer."""
    return tuple(_PREFIX + kind for kind in _NETWORKS)


def build(
    name: str,
    *,
    sources: int,
    targets: int,
    hidden: int | None = None,
    parameters: int | None = None,
    dropout: float | None = None,
    **fields: Any,
) -> SequenceToSequence:
    """A network for so many symbols on each side, padding included.

    Args:
        name: one of `names()`.
        hidden: width of the whole network; None for the one that comes nearest to `parameters`.
        parameters: by default `PARAMETERS`; ignored where `hidden` is given.
        dropout: by default 0.
        fields: `heads` of a transformer or of the delta rule, `rate` and `inner_steps` of fast
            weights; None keeps the default.

    Raises:
        UserError: an unknown name, a field that the network does not have, or one out of its range.
    """
    if name not in names():
        raise UserError(f"no network '{name}'{nearest(name, names())}")
    kind = name.removeprefix(_PREFIX)
    own = given(name, fields)

    def made(width: int) -> SequenceToSequence:
        return _NETWORKS[kind](sources, targets, width, dropout or 0.0, **own)

    heads = own.get("heads", 4)
    multiple = math.lcm(2, heads) if kind == "transformer" else heads
    return made(hidden or _width(made, parameters or PARAMETERS, multiple))


def _width(made: Callable[[int], SequenceToSequence], parameters: int, multiple: int) -> int:
    """The multiple with which a network comes nearest to so many parameters."""

    def count(k: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in made(k * multiple).parameters())

    # A network of width H has more than H² parameters.
    most = math.isqrt(parameters) // multiple + 2
    above = bisect_left(range(1, most), parameters, key=count) + 1
    nearest_k = min(max(1, above - 1), above, key=lambda k: abs(count(k) - parameters))
    return nearest_k * multiple
