"""The recurrence of fast weights over one stretch of a sequence, with a backward pass of its own.

Within a stretch the fast weights are never formed: what they do to a vector is attention to the
states since its beginning (Ba et al. 2016, section 4.1, equation 4). What came before the stretch is
one matrix for each sequence, which `advanced` carries on to the next stretch. A stretch of one step
is the matrix form, a stretch of all steps the attention form.

Letters in names: B batch, T time, S inner steps, H hidden; A_BHH fast weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

EPSILON = 1e-5
"""Added to the variance in layer normalisation, as torch.nn.LayerNorm does."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a step goes: the number of inner steps, where states are normalised, and f."""

    inner_steps: int
    normalise: bool
    normalise_first: bool
    relu: bool

    @property
    def first_normal(self) -> int:
        """The first of a step's S + 1 sums that is normalised."""
        if not self.normalise:
            return self.inner_steps + 1
        return 0 if self.normalise_first else 1


def run(
    rule: Rule,
    drive_BTH: Tensor,
    W_HH: Tensor,
    gain_H: Tensor,
    bias_H: Tensor,
    fade_T: Tensor,
    rate: Tensor,
    h_BH: Tensor,
    A_BHH: Tensor | None,
) -> Tensor:
    """h_BTH after each step of a stretch; no step's fast weights are stored, for either pass.

    With z(t) = drive(t) + W h(t−1) and A(t−1) = λᵗ A + η Σ_{τ<t} λ^{t−1−τ} h(τ) h(τ)ᵀ, a step is
    h₀ = f(z), or f(LN(z)), then h_{s+1} = f(LN(z + A(t−1) h_s)) (Ba et al. 2016, equation 2).

    Args:
        drive_BTH: C x(t) + b.
        W_HH: slow weights from state to state.
        gain_H, bias_H: of layer normalisation, one pair for all steps.
        fade_T: λᵏ for k from 0.
        rate: η.
        h_BH: the state before the first step.
        A_BHH: the fast weights that the first step meets; None for none.
    """
    arguments = (drive_BTH, W_HH, gain_H, bias_H, fade_T, rate * fade_T, h_BH, A_BHH)
    h_BTH: Tensor = _Stretch.apply(rule, *arguments)  # type: ignore[no-untyped-call]
    return h_BTH


def advanced(
    A_BHH: Tensor | None, h_BTH: Tensor, lengths_B: Tensor, decay: Tensor, rate: Tensor
) -> Tensor:
    """Fast weights after the first `lengths_B` of the states (Ba et al. 2016, equation 1).

    A(t) = λ A(t−1) + η h(t) h(t)ᵀ.
    """
    age_BT = lengths_B[:, None] - 1 - torch.arange(h_BTH.shape[1], device=h_BTH.device)
    weight_BT = rate * decay ** age_BT.clamp(min=0) * (age_BT >= 0)
    added_BHH = torch.bmm((weight_BT[:, :, None] * h_BTH).transpose(1, 2), h_BTH)
    if A_BHH is None:
        return added_BHH
    return (decay**lengths_B)[:, None, None] * A_BHH + added_BHH


class _Stretch(torch.autograd.Function):
    """`run`, with η λᵏ as `weight_T`. Keeps a few (B, T, H) for the backward pass, and no (B, H, H)."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, *tensors: Tensor) -> Tensor:
        drive_BTH, W_HH, gain_H, bias_H, fade_T, weight_T, h_BH, A_BHH = tensors
        size_B, size_T, size_H = drive_BTH.shape
        steps = rule.inner_steps
        W_t = W_HH.t()
        fades = fade_T.tolist()
        weight_R = _latest_last(weight_T, size_H)
        h_BTH = torch.zeros_like(drive_BTH, memory_format=torch.contiguous_format)
        input_TSBH = drive_BTH.new_empty(size_T, steps + 1, size_B, size_H)
        guess_TSBH = drive_BTH.new_empty(size_T, steps, size_B, size_H)
        moments: list[tuple[Tensor, Tensor]] = []
        first_normal = rule.first_normal
        # Views are made at once where they can be: one by one they cost a fifth of this pass.
        drives, outputs = drive_BTH.unbind(1), h_BTH.unbind(1)
        inputs, guesses = _apart(input_TSBH), _apart(guess_TSBH)
        h = h_BH
        for t in range(size_T):
            z = torch.addmm(drives[t], h, W_t, out=inputs[t][0])
            past_BPH, past_BHP, weight_P = _past(h_BTH, weight_R, t)
            u = z
            for s in range(steps + 1):
                if s:
                    u = inputs[t][s].copy_(z)
                    if t:
                        product_B1P = torch.bmm(h.unsqueeze(1), past_BHP).mul_(weight_P)
                        u.unsqueeze(1).baddbmm_(product_B1P, past_BPH)
                    if A_BHH is not None:
                        u.add_(torch.bmm(A_BHH, h[:, :, None])[:, :, 0], alpha=fades[t])
                v = u
                if s >= first_normal:
                    v, mean, scale = torch.native_layer_norm(u, (size_H,), gain_H, bias_H, EPSILON)
                    moments.append((mean, scale))
                target = outputs[t] if s == steps else guesses[t][s]
                h = torch.clamp_min(v, 0, out=target) if rule.relu else torch.tanh(v, out=target)
        ctx.rule, ctx.fades, ctx.moments = rule, fades, moments
        ctx.save_for_backward(W_HH, gain_H, weight_T, h_BH, A_BHH, h_BTH, input_TSBH, guess_TSBH)
        return h_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_BTH: Tensor) -> tuple[Tensor | None, ...]:
        # A gradient has the name of what it is the gradient of, with `d` before it.
        W_HH, gain_H, weight_T, h_BH, A_BHH, h_BTH, input_TSBH, guess_TSBH = ctx.saved_tensors
        rule: Rule = ctx.rule
        _, size_T, size_H = h_BTH.shape
        steps, first_normal = rule.inner_steps, rule.first_normal
        fades, latest_moments = ctx.fades, reversed(ctx.moments)
        weight_R = _latest_last(weight_T, size_H)
        needs = ctx.needs_input_grad
        dh_BTH = out_BTH.clone(memory_format=torch.contiguous_format)
        dinput_TSBH = torch.empty_like(input_TSBH)
        dnormal_TSBH = torch.empty_like(input_TSBH)
        dfade_T, dweight_T = weight_T.new_zeros(size_T), weight_T.new_zeros(size_T)
        activation_backward = _THROUGH_RELU if rule.relu else _THROUGH_TANH
        outputs, doutputs = h_BTH.unbind(1), dh_BTH.unbind(1)
        inputs, guesses, dnormals = map(_apart, (input_TSBH, guess_TSBH, dnormal_TSBH))
        latest_dz: list[Tensor] = []
        for t in reversed(range(size_T)):
            past_BPH, past_BHP, weight_P = _past(h_BTH, weight_R, t)
            dh = doutputs[t]
            dus: list[Tensor] = []
            for s in reversed(range(steps + 1)):
                h = outputs[t] if s == steps else guesses[t][s]
                du = activation_backward(dh, h, grad_input=dnormals[t][s])
                if s >= first_normal:
                    du = _normal_backward(du, inputs[t][s], next(latest_moments), gain_H)[0]
                dus.append(du)
                if s == 0:
                    break
                before = guesses[t][s - 1]
                if t:
                    # What the past gives with (du, h): with h it was weighed in the forward pass.
                    three_B3H = torch.stack([du, before, du], 1)
                    product_B2P = torch.bmm(three_B3H.narrow(1, 0, 2), past_BHP)
                    if needs[6]:
                        dweight_T[size_T - t :] += product_B2P[:, :, :t].prod(1).sum(0)
                    product_B2P *= weight_P
                    dh = torch.bmm(product_B2P.narrow(1, 0, 1), past_BPH).squeeze(1)
                    dpast_BPH = torch.bmm(product_B2P.transpose(1, 2), three_B3H.narrow(1, 1, 2))
                    dh_BTH.narrow(1, 0, len(weight_P)).add_(dpast_BPH)
                else:
                    dh = torch.zeros_like(du)
                if A_BHH is not None:
                    dinput_TSBH[t, s] = du
                    by_A_BH = torch.bmm(du[:, None], A_BHH)[:, 0]
                    if needs[5]:
                        dfade_T[t] += (by_A_BH * before).sum()
                    dh = dh.add(by_A_BH, alpha=fades[t])
            latest_dz.append(reduce(torch.add, dus))
            if t:
                doutputs[t - 1].addmm_(latest_dz[-1], W_HH)
        dz_BTH = torch.stack(latest_dz[::-1], 1)
        before_BTH = torch.cat([h_BH[:, None], h_BTH[:, :-1]], 1)
        dW_HH = torch.mm(dz_BTH.flatten(0, 1).t(), before_BTH.flatten(0, 1))
        dh_BH = torch.mm(dz_BTH[:, 0], W_HH)
        dA_BHH = None
        if A_BHH is not None and needs[8]:
            faded = weight_T.new_tensor(fades)[:, None, None, None]
            dA_BHH = torch.bmm(
                (dinput_TSBH[:, 1:] * faded).flatten(0, 1).permute(1, 2, 0),
                guess_TSBH.flatten(0, 1).transpose(0, 1),
            )
        dgain_H, dbias_H = torch.zeros_like(gain_H), torch.zeros_like(gain_H)
        if rule.normalise:
            mean_RB1, scale_RB1 = map(torch.stack, zip(*ctx.moments, strict=True))
            _, dgain_H, dbias_H = _normal_backward(
                dnormal_TSBH[:, first_normal:].flatten(0, 1),
                input_TSBH[:, first_normal:].flatten(0, 1),
                (mean_RB1, scale_RB1),
                gain_H,
                of_input=False,
            )
        return None, dz_BTH, dW_HH, dgain_H, dbias_H, dfade_T, dweight_T.flip(0), dh_BH, dA_BHH


def _normal_backward(
    dv: Tensor, u: Tensor, moments: tuple[Tensor, Tensor], gain_H: Tensor, of_input: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of layer normalisation: of its input, or else of gain and bias."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_layer_norm_backward(
        dv, u, gain_H.shape, *moments, gain_H, gain_H, (of_input, not of_input, not of_input)
    )
    return gradients


_THROUGH_RELU = partial(torch.ops.aten.threshold_backward.grad_input, threshold=0)
_THROUGH_TANH = torch.ops.aten.tanh_backward.grad_input

_LEAST_PRODUCTS = 400
"""Below so many numbers in a matrix, torch multiplies batches by a loop of its own, thrice as slow."""


def _past(h_BTH: Tensor, weight_R: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """The states before step t in two orders, and their weights; and a few more for speed, weighed by 0."""
    _, size_T, size_H = h_BTH.shape
    size_P = min(max(t, -(-_LEAST_PRODUCTS // size_H)), size_T)
    past_BPH = h_BTH.narrow(1, 0, size_P)
    return past_BPH, past_BPH.transpose(1, 2), weight_R.narrow(0, size_T - t, size_P)


def _apart(x_TSBH: Tensor) -> list[tuple[Tensor, ...]]:
    """x_BH of each step and inner step."""
    return [x_SBH.unbind() for x_SBH in x_TSBH.unbind()]


def _latest_last(weight_T: Tensor, size_H: int) -> Tensor:
    """From T − t on, the weights of the states before step t, then zeros for `_past`'s others."""
    return pad(weight_T.flip(0), (0, -(-_LEAST_PRODUCTS // size_H)))
