"""A layer of fast weights that are programmed by the delta rule (Schlag, Irie, Schmidhuber 2021).

Letters in names: B batch, T time, I input features, H hidden, L layers, N heads, D features of a head,
P past inputs of the convolution, F features of queries, keys and values (3·H).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad, silu

from firetree.errors import UserError
from firetree.fastweights.delta_rule import by_chunks, step_by_step
from firetree.fastweights.norms import unit, unit_rms
from firetree.fastweights.sequences import SequenceLayers, check_choice, check_dtype, check_state

DeltaForm = Literal["auto", "recurrent", "chunked"]

_WIDTH = 4
"""Steps that the convolution sees, as in the DeltaNet of Yang et al. 2024."""


class DeltaState(NamedTuple):
    """The state of all layers after a step: fast weights S_LBNDD, and recent_LBPF for the convolution."""

    S_LBNDD: Tensor
    recent_LBPF: Tensor


class DeltaFastWeights(SequenceLayers[DeltaState]):
    """Fast weights that store a value under a key by correcting the value that the key had before.

    Queries, keys and values come from a linear map, a causal convolution of 4 steps for each feature and
    SiLU; queries and keys have length 1. A gate β(t) from 0 to 1 says how far a value replaces the old
    one: S(t) = S(t−1) + β k (v − S(t−1)ᵀ k)ᵀ (Schlag et al. 2021, equation 23). The layer around it is
    that of Yang et al. 2024, arXiv 2406.06484. Outputs of the heads have mean square 1, and a linear map
    mixes them. It is called like torch.nn.LSTM. Continuing from a state gives the same as one long call.

    Args:
        input_size, hidden_size, num_layers, batch_first, dropout, device, dtype: as for torch.nn.LSTM.
        bias: of queries, keys and values, after the convolution. Without it, the output is 0 after four
            zero inputs.
        heads: N, each with a memory of its own, D = H / N features wide.
        form: `recurrent` goes step by step, `chunked` 32 steps at a time; `auto` is `recurrent` for
            single steps. All give the same.

    Raises:
        UserError: a size out of its range, or heads that do not divide the hidden size.
    """

    _state_kind = DeltaState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        heads: int = 1,
        form: DeltaForm = "auto",
        **options: Any,
    ):
        super().__init__(
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            **options,
        )
        check_choice("form", form, get_args(DeltaForm))
        if heads < 1 or hidden_size % heads:
            raise UserError(f"heads = {heads}; expected a divisor of hidden_size = {hidden_size}")
        self.bias = bias
        self.heads = heads
        self.form = form
        for layer in range(num_layers):
            below = input_size if layer == 0 else hidden_size
            shapes = {
                "weight_qkv": (3 * hidden_size, below),
                "weight_beta": (heads, below),
                "weight_out": (hidden_size, hidden_size),
                "filter": (_WIDTH, 3 * hidden_size),
                "bias_beta": (heads,),
            } | ({"bias_qkv": (3 * hidden_size,)} if bias else {})
            for name, sizes in shapes.items():
                self._add(name, layer, torch.empty(sizes))
        if bias:
            self.register_load_state_dict_pre_hook(_add_missing_bias)  # type: ignore[no-untyped-call]
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights uniformly, scaled by their number of inputs; β starts at 1/2 on average."""
        for name, parameter in self.named_parameters():
            if name.startswith("bias_beta"):
                parameter.zero_()
                continue
            if name.startswith("bias"):
                bound = 1 / math.sqrt(self.hidden_size)  # as in torch.nn.LSTM
            else:
                bound = math.sqrt(3 / (_WIDTH if name.startswith("filter") else parameter.shape[1]))
            parameter.uniform_(-bound, bound)

    @torch.no_grad()
    def attention(self, x_BTI: Tensor, layer: int = 0) -> Tensor:
        """Attention of each step (row) to what earlier steps wrote (column), from an empty memory.

        As S is a sum of corrections, y(t) = Σ β(τ) (q(t)·k(τ)) (v(τ) − S(τ−1)ᵀ k(τ)) over τ ≤ t. The
        result weights_BNTT has β(τ) (q(t)·k(τ)) in row t and column τ ≤ t, else 0.

        Args:
            x_BTI: the layer's input, batch first: the net's input or the outputs of the layer below.
            layer: the layer's number.

        Raises:
            UserError: x_BTI has another dtype than the weights.
        """
        check_dtype("x_BTI", x_BTI, self._weight("weight_qkv", layer).dtype)
        seen_BTF = pad(linear(x_BTI, self._weight("weight_qkv", layer)), (0, 0, _WIDTH - 1, 0))
        q, k, _ = self._queries_keys_values(layer, seen_BTF)
        weights = (
            torch.bmm(q, k.transpose(1, 2)) * self._gates(layer, x_BTI).mT.flatten(0, 1)[:, None]
        )
        return torch.unflatten(weights.tril(), 0, (len(x_BTI), self.heads))

    def _run(self, layer: int, x_BTI: Tensor, before: Any, lengths_B: Tensor) -> tuple[Tensor, Any]:
        size_B, size_T, _ = x_BTI.shape
        size_D = self.hidden_size // self.heads
        S_BNDD, recent_BPF = before or (
            x_BTI.new_zeros(size_B, self.heads, size_D, size_D),
            x_BTI.new_zeros(size_B, _WIDTH - 1, 3 * self.hidden_size),
        )
        projected_BTF = linear(x_BTI, self._weight("weight_qkv", layer))
        seen_BTF = torch.cat([recent_BPF, projected_BTF], 1)
        going_BT = torch.arange(size_T, device=x_BTI.device) < lengths_B[:, None]
        beta = (self._gates(layer, x_BTI) * going_BT[:, :, None]).mT.flatten(0, 1)
        recurrent = self.form == "recurrent" or (self.form == "auto" and size_T == 1)
        rule = step_by_step if recurrent else by_chunks
        y, S = rule(*self._queries_keys_values(layer, seen_BTF), beta, S_BNDD.flatten(0, 1))
        y_BTND = unit_rms(torch.unflatten(y, 0, (size_B, self.heads)).transpose(1, 2))
        last_BP = lengths_B[:, None] + torch.arange(_WIDTH - 1, device=x_BTI.device)
        recent_BPF = seen_BTF[torch.arange(size_B, device=x_BTI.device)[:, None], last_BP]
        y_BTH = linear(y_BTND.flatten(2), self._weight("weight_out", layer))
        return y_BTH, (S.view_as(S_BNDD), recent_BPF)

    def _queries_keys_values(self, layer: int, seen_BTF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, (B·N, T, D) each, from the projected inputs and the last steps before them."""
        filter_F11W = self._weight("filter", layer).t()[:, None, None].contiguous()
        # As an image of height 1, because torch's 2-D convolution supports channels-last memory.
        bias_F = self._weight("bias_qkv", layer) if self.bias else None
        mixed_BF1T = conv2d(seen_BTF.mT[:, :, None], filter_F11W, bias_F, groups=len(filter_F11W))
        q, k, v = map(self._by_head, silu(mixed_BF1T[:, :, 0].mT).chunk(3, 2))
        return unit(q), unit(k), v

    def _gates(self, layer: int, x_BTI: Tensor) -> Tensor:
        """β_BTN."""
        weight, bias = self._weight("weight_beta", layer), self._weight("bias_beta", layer)
        return linear(x_BTI, weight, bias).sigmoid()

    def _by_head(self, x_BTH: Tensor) -> Tensor:
        """(B·N, T, D)."""
        return torch.unflatten(x_BTH, 2, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def _split(self, state: DeltaState, x_BTI: Tensor) -> list[Any]:
        size_D = self.hidden_size // self.heads
        every = self.num_layers, len(x_BTI)
        check_state("S", state.S_LBNDD, (*every, self.heads, size_D, size_D))
        check_state("recent", state.recent_LBPF, (*every, _WIDTH - 1, 3 * self.hidden_size))
        return list(zip(*state, strict=True))

    def _join(self, parts: list[Any]) -> DeltaState:
        return DeltaState(*map(torch.stack, zip(*parts, strict=True)))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, heads={self.heads}"


def _add_missing_bias(layers: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Load checkpoints from before there was a bias, with a bias of 0."""
    for name, parameter in layers.named_parameters(prefix.removesuffix(".")):
        if "bias_qkv" in name:
            state.setdefault(name, torch.zeros_like(parameter))
