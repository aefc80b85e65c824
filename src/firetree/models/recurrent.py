"""Networks that read a sequence of symbols and answer: an embedding, a recurrent layer, a head.

Letters in names: B batch, T time, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from firetree.errors import UserError, nearest
from firetree.fastweights import IRNN, AssociativeLSTM, DeltaFastWeights, FastWeightRNN
from firetree.models.families import given

EMBEDDING = HEAD = 100
"""Features of a symbol, and units before the classifier (Ba et al. 2016, section 4.1)."""


class LSTM(nn.LSTM):
    """torch.nn.LSTM that also runs within autocast on a CPU, where PyTorch's own refuses float32."""

    def forward(self, x: Any, state: tuple[Tensor, Tensor] | None = None) -> Any:
        """In the precision of the weights on a CPU; arguments are those of torch.nn.LSTM."""
        weight = self.weight_ih_l0
        if weight.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x, state)
        if state is not None:
            state = state[0].to(weight.dtype), state[1].to(weight.dtype)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(weight.dtype), state)


_LAYERS: Mapping[str, Callable[..., nn.Module]] = {
    "fast_weights": FastWeightRNN,
    "delta": DeltaFastWeights,
    "associative_lstm": AssociativeLSTM,
    "irnn": IRNN,
    "lstm": LSTM,
    "gru": nn.GRU,
}


def names() -> tuple[str, ...]:
    """The names of the recurrent layers."""
    return tuple(sorted(_LAYERS))


SequenceForward = Callable[[Any, Tensor], Tensor]
"""A network's pass over samples along the first axis."""


def also_of_none(forward: SequenceForward) -> SequenceForward:
    """The same pass, which also takes an empty batch: some ranks may have no share of a step."""

    @wraps(forward)
    def wrapped(network: Any, x: Tensor) -> Tensor:
        if len(x):
            return forward(network, x)
        # Layers reject empty batches, and 0 is the padding symbol: run one row of ones and drop its output.
        return forward(network, x.new_ones(1, *x.shape[1:]))[:0]

    return wrapped


class SequenceClassifier(nn.Module):
    """Symbols (B, T) to logits, (B, K) after the last symbol or (B, T, K) after each."""

    def __init__(self, layer: nn.Module, hidden: int, symbols: int, classes: int, each_step: bool):
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDING)
        self.layer = layer
        self.head = nn.Sequential(nn.Linear(hidden, HEAD), nn.ReLU(), nn.Linear(HEAD, classes))
        self._each_step = each_step

    @also_of_none
    def forward(self, x_BT: Tensor) -> Tensor:
        y_BTH, _ = self.layer(self.embedding(x_BT))
        logits: Tensor = self.head(y_BTH if self._each_step else y_BTH[:, -1])
        return logits


def build(
    name: str, *, symbols: int, classes: int, each_step: bool, hidden: int = 50, **fields: Any
) -> SequenceClassifier:
    """A network for symbols below `symbols`, with the layer of this name.

    Args:
        name: one of `names()`.
        each_step: whether it answers after each symbol, or after the last one only.
        hidden: units of the recurrent layer.
        fields: as `build_layer` takes them.

    Raises:
        UserError: as `build_layer`.
    """
    layer = build_layer(name, EMBEDDING, hidden, **fields)
    return SequenceClassifier(layer, hidden, symbols, classes, each_step)


def build_layer(name: str, features: int, hidden: int, **fields: Any) -> nn.Module:
    """The recurrent layer of this name, batch first.

    Args:
        fields: options of the layer's own; None keeps its default.

    Raises:
        UserError: an unknown name, a field that the layer does not have, or one out of its range.
    """
    if name not in names():
        raise UserError(f"no recurrent layer '{name}'{nearest(name, names())}")
    return _LAYERS[name](features, hidden, batch_first=True, **given(name, fields))
