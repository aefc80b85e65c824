"""Networks from sequence to sequence by name, of about equal numbers of parameters, and their search."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, cast

import torch

from firetree.errors import UserError, nearest
from firetree.models import recurrent
from firetree.models.seq2seq.lstm import Attentive, Memory, Recurrent, Remembering
from firetree.models.seq2seq.network import PADDING, SequenceToSequence
from firetree.models.seq2seq.search import Found, search
from firetree.models.seq2seq.transformer import Transformer

__all__ = ["PADDING", "Found", "SequenceToSequence", "build", "names", "search"]

PARAMETERS = 1_000_000
"""What a network without a width of its own comes to, as nearly as its width allows."""

_PREFIX = "seq2seq_"
_MEMORIES: dict[str, dict[str, Any]] = {"fast_weights": {"decay": 1.0, "rate": 0.1}, "delta": {}}
"""With their own defaults here: a source is to be known to the end, so nothing fades."""


def names() -> tuple[str, ...]:
    """The names of all networks here: an LSTM alone, with each kind of memory, and a transformer."""
    return tuple(_PREFIX + kind for kind in ("lstm", "attention", "transformer", *_MEMORIES))


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
        parameters: by default `PARAMETERS`; of no account where `hidden` is given.
        dropout: by default 0.
        fields: of the memory's layer, as `recurrent.build_layer` takes them, or a transformer's
            `heads`; None keeps the default, which is λ = 1 and η = 0.1 for fast weights.

    Raises:
        UserError: an unknown name, a field that the network does not have, or one out of its range.
    """
    if name not in names():
        raise UserError(f"no network '{name}'{nearest(name, names())}")
    kind = name.removeprefix(_PREFIX)
    given = {field: value for field, value in fields.items() if value is not None}

    def made(width: int) -> SequenceToSequence:
        return _build(kind, sources, targets, width, dropout or 0.0, given)

    heads = given.get("heads", 4)
    multiple = math.lcm(2, heads) if kind == "transformer" else heads
    return made(hidden or _width(made, parameters or PARAMETERS, multiple))


def _build(
    kind: str, sources: int, targets: int, hidden: int, dropout: float, given: dict[str, Any]
) -> SequenceToSequence:
    shape = sources, targets, hidden, dropout
    if kind in _MEMORIES:
        memory = recurrent.build_layer(kind, hidden, hidden, **_MEMORIES[kind] | given)
        return Remembering(*shape, cast(Memory, memory))
    given = recurrent.given(_PREFIX + kind, given, ("heads",) if kind == "transformer" else ())
    match kind:
        case "transformer":
            return Transformer(*shape, **given)
        case "attention":
            return Attentive(*shape)
        case _:
            return Recurrent(*shape)


def _width(made: Callable[[int], SequenceToSequence], parameters: int, multiple: int) -> int:
    """The multiple with which a network comes nearest to so many parameters."""

    def count(k: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in made(k * multiple).parameters())

    # Each width has more than its square.
    most = math.isqrt(parameters) // multiple + 2
    above = bisect_left(range(1, most), parameters, key=count) + 1
    nearest_k = min(max(1, above - 1), above, key=lambda k: abs(count(k) - parameters))
    return nearest_k * multiple
