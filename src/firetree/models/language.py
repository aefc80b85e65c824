"""Language models: blocks of causal attention (a GPT), or of any recurrent layer, one after the other.

Letters in names: B batch, T symbols, P symbols that are remembered, H hidden, N heads, D features of a head,
K symbols to choose from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from firetree.errors import UserError, nearest
from firetree.models import recurrent
from firetree.models.families import given
from firetree.models.recurrent import also_of_none

GPT = "gpt"
_PREFIX = "lm_"
_SPREAD = 0.02
"""Standard deviation of initial weights (Radford et al. 2019)."""


def names() -> tuple[str, ...]:
    """The GPT, and a language model of each recurrent layer."""
    return (GPT, *(_PREFIX + layer for layer in recurrent.names()))


def build(
    name: str,
    *,
    symbols: int,
    length: int,
    layers: int = 4,
    hidden: int = 128,
    dropout: float = 0.0,
    **fields: Any,
) -> LanguageNetwork:
    """A network for so many symbols.

    Args:
        name: one of `names()`.
        length: the most symbols that a GPT can see.
        layers: blocks.
        hidden: width of the whole network.
        dropout: probability, of embeddings too.
        fields: others that a recipe has; None keeps the default.

    Raises:
        UserError: an unknown name, a field that the network does not have, or one out of its range.
    """
    if name not in names():
        raise UserError(f"no language model '{name}'{nearest(name, names())}")
    own = given(name, fields)
    mixers: list[nn.Module]
    if name == GPT:
        mixers = [CausalAttention(hidden, **own) for _ in range(layers)]
        return LanguageNetwork(mixers, symbols, hidden, dropout, length)
    layer = name.removeprefix(_PREFIX)
    mixers = [recurrent.build_layer(layer, hidden, hidden, **own) for _ in range(layers)]
    return LanguageNetwork(mixers, symbols, hidden, dropout)


class LanguageState(NamedTuple):
    """What a network has read, to go on from: how many symbols, and the state of each block."""

    read: int
    blocks: Sequence[Any]


class LanguageNetwork(nn.Module):
    """Symbols (B, T) to logits (B, T, K) of the symbol after each.

    Args:
        mixers: one for each block, called like a recurrent layer whose batch comes first.
        symbols: K.
        hidden: H.
        dropout: of embeddings, and of what each part of a block adds.
        length: the most symbols that can be seen, where the mixers know no order of their own.
    """

    def __init__(
        self,
        mixers: Sequence[nn.Module],
        symbols: int,
        hidden: int,
        dropout: float,
        length: int | None = None,
    ):
        super().__init__()
        self.length = length
        self.embedding = TiedEmbedding(symbols, hidden)
        self.places = nn.Embedding(length, hidden) if length else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(LanguageBlock(mixer, hidden, dropout) for mixer in mixers)
        self.norm = nn.LayerNorm(hidden)
        # What is added in each block is made smaller, so that the sum does not grow with their number.
        added = 1 / math.sqrt(2 * len(mixers))
        for path, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(
                    module.weight, std=_SPREAD * (added if path.endswith(".out") else 1)
                )

    @also_of_none
    def forward(self, x_BT: Tensor) -> Tensor:
        return self.go_on(x_BT, None)[0]

    def go_on(self, x_BT: Tensor, state: LanguageState | None) -> tuple[Tensor, LanguageState]:
        """Logits (B, T, K) after each further symbol, and the state after the last.

        A GPT sees no more than `length` symbols together with those of the state, which is None at the
        beginning.
        """
        read, before = state or (0, [None] * len(self.blocks))
        y_BTH = self.embedding(x_BT)
        if self.places is not None:
            places_T = torch.arange(read, read + x_BT.shape[1], device=x_BT.device)
            y_BTH = y_BTH + self.places(places_T)
        y_BTH = self.dropout(y_BTH)
        after: list[Any] = []
        for block, its in zip(self.blocks, before, strict=True):
            y_BTH, its = block(y_BTH, its)
            after.append(its)
        return self.embedding(self.norm(y_BTH)), LanguageState(read + x_BT.shape[1], after)


class TiedEmbedding(nn.Embedding):
    """Symbols (B, T) to features (B, T, H), and features to logits (B, T, K) by the same weights."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight) if x.is_floating_point() else super().forward(x)


class LanguageBlock(nn.Module):
    """What mixes symbols over time, then a net for each alone; each reads its input normalised, and adds to it."""

    def __init__(self, mixer: nn.Module, hidden: int, dropout: float):
        super().__init__()
        self.mixer_norm, self.mixer = nn.LayerNorm(hidden), mixer
        self.net_norm, self.net = nn.LayerNorm(hidden), FeedForward(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, y_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        mixed_BTH, state = self.mixer(self.mixer_norm(y_BTH), state)
        y_BTH = y_BTH + self.dropout(mixed_BTH)
        return y_BTH + self.dropout(self.net(self.net_norm(y_BTH))), state


class FeedForward(nn.Module):
    """Two layers, with 4·H units between them."""

    def __init__(self, hidden: int):
        super().__init__()
        self.up = nn.Linear(hidden, 4 * hidden, bias=False)
        self.out = nn.Linear(4 * hidden, hidden, bias=False)

    def forward(self, y_BTH: Tensor) -> Tensor:
        added_BTH: Tensor = self.out(gelu(self.up(y_BTH)))
        return added_BTH


class CausalAttention(nn.Module):
    """Each symbol attends to itself and to those before it; the state is their keys and values (B, N, P, D).

    Raises:
        UserError: heads that do not divide the hidden size.
    """

    def __init__(self, hidden: int, heads: int = 4):
        super().__init__()
        if hidden % heads:
            raise UserError(f"heads = {heads}; expected a divisor of hidden = {hidden}")
        self.heads = heads
        self.query_key_value = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)

    def forward(
        self, y_BTH: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query, key, value = (
            torch.unflatten(part_BTH, 2, (self.heads, -1)).transpose(1, 2)
            for part_BTH in self.query_key_value(y_BTH).chunk(3, 2)
        )
        visible = None
        if state is not None:
            key, value = torch.cat([state[0], key], 2), torch.cat([state[1], value], 2)
            size_T, size_P = query.shape[2], key.shape[2]
            visible = torch.ones(size_T, size_P, dtype=torch.bool, device=key.device)
            visible = visible.tril(size_P - size_T)
        mixed = scaled_dot_product_attention(
            query, key, value, attn_mask=visible, is_causal=state is None
        )
        mixed_BTH: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return mixed_BTH, (key, value)
