"""A small pre-norm transformer (Vaswani et al. 2017) that can go on from a state.

Letters in names: B batch, S symbols of a source, T symbols of a target, P symbols that a query may
see, H hidden, N heads, D features of a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from firetree.errors import UserError
from firetree.models.seq2seq.network import PADDING, Embedding, SequenceToSequence, State

LAYERS = 3
"""Of the encoder, and of the decoder."""


class Attention(nn.Module):
    """Attention of queries (B, T, H) over keys and values (B, N, P, D)."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def key_and_value(self, y_BPH: Tensor) -> tuple[Tensor, Tensor]:
        """Each (B, N, P, D)."""
        key, value = map(self._by_head, self.key_value(y_BPH).chunk(2, 2))
        return key, value

    def forward(self, y_BTH: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        """`visible`, which broadcasts to (B, N, T, P), is True where a query may look."""
        query = self._by_head(self.query(y_BTH))
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible)
        mixed_BTH: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return mixed_BTH

    def _by_head(self, y_BTH: Tensor) -> Tensor:
        return torch.unflatten(y_BTH, 2, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention in a decoder, and a feed-forward net."""

    def __init__(self, hidden: int, heads: int, dropout: float, decoder: bool):
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(hidden), Attention(hidden, heads)
        if decoder:
            self.other_norm, self.other = nn.LayerNorm(hidden), Attention(hidden, heads)
        self.net = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 4 * hidden),
            nn.ReLU(),
            nn.Linear(4 * hidden, hidden),
        )
        self.dropout = nn.Dropout(dropout)

    def encode(self, y_BSH: Tensor, visible: Tensor) -> Tensor:
        """The source's next features."""
        normal = self.own_norm(y_BSH)
        y_BSH = y_BSH + self.dropout(self.own(normal, *self.own.key_and_value(normal), visible))
        added_BSH: Tensor = self.dropout(self.net(y_BSH))
        return y_BSH + added_BSH

    def decode(
        self, y_BTH: Tensor, visible_own: Tensor, visible_other: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """The target's next features, from the keys and values of earlier steps and of the source."""
        past_key, past_value, *other = state
        normal = self.own_norm(y_BTH)
        key, value = self.own.key_and_value(normal)
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
        y_BTH = y_BTH + self.dropout(self.own(normal, key, value, visible_own))
        y_BTH = y_BTH + self.dropout(self.other(self.other_norm(y_BTH), *other, visible_other))
        return y_BTH + self.dropout(self.net(y_BTH)), (key, value, *other)


class Transformer(SequenceToSequence):
    """Encoder and decoder of three layers each; the net inside a layer has 4·H units.

    Args:
        sources, targets: symbols of each side, padding included.
        hidden: H.
        dropout: of embeddings, and of what each part of a layer adds.
        heads: N, a divisor of H.

    Raises:
        UserError: heads that do not divide the hidden size, or an odd hidden size.
    """

    def __init__(self, sources: int, targets: int, hidden: int, dropout: float, heads: int = 4):
        super().__init__()
        if heads < 1 or hidden % heads:
            raise UserError(f"heads = {heads}; expected a divisor of hidden = {hidden}")
        if hidden % 2:
            raise UserError(f"hidden = {hidden}; expected an even number for a transformer")
        self.source = Embedding(sources, hidden, dropout)
        self.target = Embedding(targets, hidden, dropout)
        self.encoder = nn.ModuleList(
            TransformerLayer(hidden, heads, dropout, False) for _ in range(LAYERS)
        )
        self.decoder = nn.ModuleList(
            TransformerLayer(hidden, heads, dropout, True) for _ in range(LAYERS)
        )
        self.encoder_norm, self.norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.logits = nn.Linear(hidden, targets)

    def begin(self, source_BS: Tensor) -> State:
        visible = (source_BS != PADDING)[:, None, None]
        y_BSH = _placed(self.source(source_BS), 0)
        for layer in cast(Iterable[TransformerLayer], self.encoder):
            y_BSH = layer.encode(y_BSH, visible)
        y_BSH = self.encoder_norm(y_BSH)
        state: State = (visible,)
        for layer in cast(Iterable[TransformerLayer], self.decoder):
            key, value = layer.other.key_and_value(y_BSH)
            state += key[:, :, :0], value[:, :, :0], key, value
        return state

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        visible_other, *held = state
        past, size_T = held[0].shape[2], before_BT.shape[1]
        every = torch.ones(size_T, past + size_T, dtype=torch.bool, device=before_BT.device)
        visible_own = every.tril(past)
        y_BTH = _placed(self.target(before_BT), past)
        after: State = (visible_other,)
        for k, layer in enumerate(cast(Iterable[TransformerLayer], self.decoder)):
            y_BTH, held_by_layer = layer.decode(
                y_BTH, visible_own, visible_other, tuple(held[4 * k : 4 * k + 4])
            )
            after += held_by_layer
        return self.logits(self.norm(y_BTH)), after


def _placed(y_BTH: Tensor, first: int) -> Tensor:
    """Embeddings plus sinusoidal positions from `first` on (section 3.5)."""
    _, size_T, size_H = y_BTH.shape
    place_T = torch.arange(first, first + size_T, device=y_BTH.device)
    speed_F = torch.exp(
        torch.arange(0, size_H, 2, device=y_BTH.device) * (-math.log(10_000) / size_H)
    )
    angle_TF = place_T[:, None] * speed_F
    places_TH = torch.stack([angle_TF.sin(), angle_TF.cos()], 2).flatten(1)
    return y_BTH + places_TH.to(y_BTH.dtype)
