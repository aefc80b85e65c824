"""A recurrent layer with fast weights: a memory of the recent past (Ba et al. 2016).

Letters in names: B batch, T time, I input features, H hidden, L layers, S inner steps; A_BHH fast
weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, pad, softplus

from firetree.errors import UserError
from firetree.fastweights import compiled
from firetree.fastweights.recurrence import EPSILON, Rule, stretch, update_fast_weights
from firetree.fastweights.sequences import (
    SequenceLayers,
    check_choice,
    check_dtype,
    check_inner_steps,
    check_rate,
    check_share,
    check_state,
    last_steps,
)

Form = Literal["auto", "attention", "matrix"]

INITIAL_W = 0.05
"""W begins as this multiple of the identity (Ba et al. 2016, section 4.2)."""


class FastWeightState:
    """The states and fast weights of all layers after a step.

    Args:
        h_LBH: states.
        A_LBHH: fast weights, updated with h, or a function that computes them on first use.
    """

    def __init__(self, h_LBH: Tensor, A_LBHH: Tensor | Callable[[], Tensor]):
        self.h_LBH = h_LBH
        self._given = A_LBHH

    @cached_property
    def A_LBHH(self) -> Tensor:
        """Fast weights of each layer and sequence."""
        return self._given if isinstance(self._given, Tensor) else self._given()

    def __reduce__(self) -> tuple[Any, ...]:
        return FastWeightState, (self.h_LBH, self.A_LBHH)

    def detached(self) -> FastWeightState:
        """The state without its gradient history."""
        return FastWeightState(self.h_LBH.detach(), self.A_LBHH.detach())


class FastWeightRNN(SequenceLayers[FastWeightState]):
    """A recurrent net with fast weights: a decaying memory of recent states, which works as attention.

    With z(t) = W h(t−1) + C x(t) + b, a step is h₀ = f(z), then S times h_{s+1} = f(LN(z + A(t−1) h_s))
    (Ba et al. 2016, equation 2), and A(t) = λ A(t−1) + η h(t) h(t)ᵀ with h(t) = h_S (equation 1). It is
    called like torch.nn.LSTM:

        rnn = FastWeightRNN(10, 20, batch_first=True)
        y_BTH, state = rnn(torch.randn(3, 5, 10))

    Gradients are first derivatives only.

    Args:
        input_size, hidden_size, num_layers, batch_first, dropout, device, dtype: as for torch.nn.LSTM.
        inner_steps: S.
        decay: λ, from 0 to 1.
        rate: η, 0 or more.
        normalise: use layer normalisation as LN, with one gain and bias for all steps.
        normalise_first: h₀ is f(LN(z)) instead of the paper's f(z).
        nonlinearity: f.
        learned: train λ and η, one of each for each layer, from `decay` and `rate` on.
        form: `matrix` computes A at each step; `attention` never does, and keeps O(T·H) numbers a
            sequence for the backward pass. `auto` uses attention within stretches of 2·H steps and
            computes A between them; with numba it trains by compiled code, which takes ten seconds to
            compile once. All give the same result.

    Raises:
        UserError: a size or number out of its range.
    """

    _state_kind = FastWeightState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        inner_steps: int = 1,
        decay: float = 0.95,
        rate: float = 0.5,
        normalise: bool = True,
        normalise_first: bool = False,
        nonlinearity: Literal["relu", "tanh"] = "relu",
        learned: bool = False,
        form: Form = "auto",
        **options: Any,
    ):
        super().__init__(
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            **options,
        )
        check_choice("nonlinearity", nonlinearity, ("relu", "tanh"))
        check_choice("form", form, get_args(Form))
        check_inner_steps(inner_steps)
        check_share("decay", decay)
        check_rate(rate)
        if learned and not (0 < decay < 1 and rate > 0):
            raise UserError(
                f"decay = {decay} and rate = {rate} to be learned; expected a decay between 0 and 1 "
                "and a rate above 0"
            )
        self._rule = Rule(
            inner_steps, normalise, normalise and normalise_first, nonlinearity == "relu"
        )
        self.form = form
        self.learned = learned
        for layer in range(num_layers):
            below = input_size if layer == 0 else hidden_size
            self._add("weight_ih", layer, torch.empty(hidden_size, below))
            self._add("weight_hh", layer, torch.empty(hidden_size, hidden_size))
            self._add("bias", layer, torch.empty(hidden_size))
            if normalise:
                self._add("norm_weight", layer, torch.ones(hidden_size))
                self._add("norm_bias", layer, torch.zeros(hidden_size))
            if learned:
                self._add("decay_logit", layer, torch.tensor(math.log(decay / (1 - decay))))
                # log(exp η − 1), from which softplus gives η back; exp η itself may overflow.
                raw = rate + math.log(-math.expm1(-rate))
                self._add("rate_raw", layer, torch.tensor(raw))
        self._decay, self._rate = decay, rate
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw C and b like torch.nn.LSTM; W is 0.05 times the identity (section 4.2)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for layer in range(self.num_layers):
            self._weight("weight_ih", layer).uniform_(-bound, bound)
            nn.init.eye_(self._weight("weight_hh", layer)).mul_(INITIAL_W)
            self._weight("bias", layer).uniform_(-bound, bound)

    def rates(self, layer: int) -> tuple[Tensor, Tensor]:
        """λ and η of a layer."""
        if self.learned:
            decay = self._weight("decay_logit", layer).sigmoid()
            return decay, softplus(self._weight("rate_raw", layer))
        bias = self._weight("bias", layer)
        return bias.new_tensor(self._decay), bias.new_tensor(self._rate)

    @torch.no_grad()
    def attention(self, x_BTI: Tensor, layer: int = 0) -> Tensor:
        """Attention of each step (row) to earlier states (column), from an empty memory: weights_BSTT.

        Inner step s has η λ^(t−1−τ) h(τ)·h_s(t) in row t and column τ < t (Ba et al. 2016, equation 4),
        else 0. The step adds the states, weighted so, to z(t).

        Args:
            x_BTI: the layer's input, batch first: the net's input or the outputs of the layer below.
            layer: the layer's number.

        Raises:
            UserError: x_BTI has another dtype than the weights.
        """
        check_dtype("x_BTI", x_BTI, self._weight("weight_ih", layer).dtype)
        size_B, size_T, _ = x_BTI.shape
        h_BTH, _ = self._run(layer, x_BTI, None, torch.full((size_B,), size_T, device=x_BTI.device))
        before_BTH = pad(h_BTH[:, :-1], (0, 0, 1, 0))
        z_BTH = linear(x_BTI, self._weight("weight_ih", layer), self._weight("bias", layer))
        z_BTH = z_BTH + linear(before_BTH, self._weight("weight_hh", layer))
        decay, rate = self.rates(layer)
        step_T = torch.arange(size_T, device=x_BTI.device)
        age_TT = step_T[:, None] - 1 - step_T
        fade_TT = rate * decay ** age_TT.clamp(min=0) * (age_TT >= 0)
        weights, u_BTH = [], z_BTH
        for step in range(self._rule.inner_steps):
            if step >= self._rule.first_normal:
                u_BTH = layer_norm(u_BTH, (self.hidden_size,), *self._norm(layer), EPSILON)
            guess_BTH = u_BTH.relu() if self._rule.relu else u_BTH.tanh()
            weights.append(fade_TT * torch.bmm(guess_BTH, h_BTH.transpose(1, 2)))
            u_BTH = z_BTH + torch.bmm(weights[-1], h_BTH)
        return torch.stack(weights, 1)

    def _norm(self, layer: int) -> tuple[Tensor, Tensor]:
        """Gain and bias of layer normalisation; 1 and 0 without it."""
        if self._rule.normalise:
            return self._weight("norm_weight", layer), self._weight("norm_bias", layer)
        bias_H = self._weight("bias", layer)
        return torch.ones_like(bias_H), torch.zeros_like(bias_H)

    def _run(self, layer: int, x_BTI: Tensor, before: Any, lengths_B: Tensor) -> tuple[Tensor, Any]:
        drive_BTH = linear(x_BTI, self._weight("weight_ih", layer), self._weight("bias", layer))
        size_B, size_T, size_H = drive_BTH.shape
        W_HH = self._weight("weight_hh", layer)
        norm = self._norm(layer)
        decay, rate = self.rates(layer)
        h_BH, A_BHH = before or (drive_BTH.new_zeros(size_B, size_H), None)
        stretch_steps = {"matrix": 1, "attention": size_T, "auto": 2 * size_H}[self.form]
        fast = self.form == "auto" and compiled.takes(drive_BTH)
        through = compiled.stretch if fast else stretch
        pieces: list[Tensor] = []
        for start in range(0, size_T, stretch_steps):
            if start:
                A_BHH = update_fast_weights(A_BHH, pieces[-1], _steps(pieces[-1]), decay, rate)
                h_BH = pieces[-1][:, -1]
            part_BtH = drive_BTH[:, start : start + stretch_steps]
            fade_t = decay ** torch.arange(part_BtH.shape[1], device=decay.device)
            given = part_BtH, W_HH, *norm, fade_t, rate * fade_t, h_BH, A_BHH
            pieces.append(through(self._rule, *given))
        y_BTH = torch.cat(pieces, 1) if len(pieces) > 1 else pieces[0]
        A_before = before[1] if before else None

        def formed() -> Tensor:
            with torch.autocast(y_BTH.device.type, enabled=False):  # this may run within autocast
                return update_fast_weights(A_before, y_BTH, lengths_B, decay, rate)

        return y_BTH, (last_steps(y_BTH, lengths_B), formed)

    def _split(self, state: FastWeightState, x_BTI: Tensor) -> list[Any]:
        expected = self.num_layers, len(x_BTI), self.hidden_size
        check_state("h", state.h_LBH, expected)
        check_state("A", state.A_LBHH, (*expected, self.hidden_size))
        return list(zip(state.h_LBH, state.A_LBHH, strict=True))

    def _join(self, parts: list[Any]) -> FastWeightState:
        return FastWeightState(
            torch.stack([h_BH for h_BH, _ in parts]),
            lambda: torch.stack([formed() for _, formed in parts]),
        )

    def _each(self, state: FastWeightState, change: Callable[[Tensor], Tensor]) -> FastWeightState:
        return FastWeightState(change(state.h_LBH), lambda: change(state.A_LBHH))

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"inner_steps={self._rule.inner_steps}, decay={self._decay}, rate={self._rate}"
        )


def _steps(h_BTH: Tensor) -> Tensor:
    return torch.full((len(h_BTH),), h_BTH.shape[1], device=h_BTH.device)
