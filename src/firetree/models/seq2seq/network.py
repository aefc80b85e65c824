"""The interface of all sequence-to-sequence networks, and the layers that they share.

Letters in names: B batch, S symbols of a source, T symbols of a target, H hidden, F features,
K symbols to choose from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firetree.models.recurrent import also_of_none

PADDING = 0
"""The symbol that fills the places after a sequence's end."""

State = tuple[Tensor, ...]
"""A network's state after a symbol; the first axis of each tensor is the batch."""


class SequenceToSequence(nn.Module):
    """Logits for each symbol of a target, from the source and the symbols before it."""

    @also_of_none
    def forward(self, x_B2T: Tensor) -> Tensor:
        """Logits (B, T, K).

        Args:
            x_B2T: sources, and for each symbol of the targets the one before it. Both end in
                `PADDING`; a source has one symbol or more.
        """
        source_BS, before_BT = x_B2T.unbind(1)
        logits_BTK, _ = self.go_on(before_BT, self.begin(source_BS))
        return logits_BTK

    def begin(self, source_BS: Tensor) -> State:
        """The state after reading the sources."""
        raise NotImplementedError

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, K) after each further symbol, and the state after the last."""
        raise NotImplementedError


class Readout(nn.Module):
    """Features (B, T, F) to logits (B, T, K), through one normalised layer of H units.

    Without the normalisation, small features make learning several times slower.
    """

    def __init__(self, features: int, hidden: int, targets: int, dropout: float):
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, targets)

    def forward(self, y_BTF: Tensor) -> Tensor:
        y_BTH = self.norm(torch.tanh(self.hidden(y_BTF)))
        logits_BTK: Tensor = self.logits(self.dropout(y_BTH))
        return logits_BTK


class Embedding(nn.Embedding):
    """Symbols (B, T) to features (B, T, H), some of which are dropped in training.

    Weights are stored √H times smaller than the features (Vaswani et al. 2017, section 3.4), so that a
    step of Adam changes the features more.
    """

    def __init__(self, symbols: int, hidden: int, dropout: float):
        super().__init__(symbols, hidden, padding_idx=PADDING)
        self.dropout = dropout
        with torch.no_grad():
            self.weight /= math.sqrt(hidden)

    def forward(self, x_BT: Tensor) -> Tensor:
        y_BTH = super().forward(x_BT) * math.sqrt(self.embedding_dim)
        return nn.functional.dropout(y_BTH, self.dropout, self.training)
