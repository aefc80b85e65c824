"""The recurrence of fast weights over a stretch of a sequence, with its own backward pass.

Within a stretch the fast weights are never formed: applying them to a vector is attention to the
stretch's earlier states (Ba et al. 2016, section 4.1, equation 4). The steps before the stretch are one
matrix for each sequence, which `update_fast_weights` updates for the next stretch. Stretches of one step are the
matrix form, one stretch of all steps is the attention form.

Letters in names: B batch, T time, S inner steps, H hidden; A_BHH fast weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from firetree.fastweights.reads import BlockGradients, blocks
from firetree.torch_private import layer_norm_backward, relu_backward, tanh_backward

EPSILON = 1e-5
"""Added to the variance in layer normalisation, as torch.nn.LayerNorm does."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The options of a step: the number of inner steps, where states are normalised, and f."""

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

    @property
    def normal_sums(self) -> int:
        """How many of a step's sums are normalised."""
        return self.inner_steps + 1 - self.first_normal


def stretch(rule: Rule, *tensors: Tensor | None) -> Tensor:
    """h_BTH after each step of a stretch; no step's fast weights are stored, for either pass.

    With z(t) = drive(t) + W h(t−1) and A(t−1) = λᵗ A + η Σ_{τ<t} λ^{t−1−τ} h(τ) h(τ)ᵀ, a step is
    h₀ = f(z), or f(LN(z)), then h_{s+1} = f(LN(z + A(t−1) h_s)) (Ba et al. 2016, equation 2).

    Args:
        rule: the options of a step.
        tensors: drive_BTH = C x(t) + b; W_HH; LN's gain_H and bias_H; fade_T = λᵏ and weight_T = η λᵏ
            for k from 0; h_BH and A_BHH before the first step, with None for no fast weights.
    """
    h_BTH: Tensor = _Stretch.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    return h_BTH


def update_fast_weights(
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


def slow_weight_gradients(
    dz_BTH: Tensor, W_HH: Tensor, h_BH: Tensor, h_BTH: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of W and of the state before the first step, from those of z(t)."""
    before_BTH = torch.cat([h_BH[:, None], h_BTH[:, :-1]], 1)
    dW_HH = torch.mm(dz_BTH.flatten(0, 1).t(), before_BTH.flatten(0, 1))
    return dW_HH, torch.mm(dz_BTH[:, 0], W_HH)


class _Stretch(torch.autograd.Function):
    """`stretch`. Keeps a few (B, T, H) for the backward pass, and no (B, H, H)."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, *tensors: Tensor) -> Tensor:
        drive_BTH, W_HH, gain_H, bias_H, fade_T, weight_T, h_BH, A_BHH = tensors
        size_B, size_T, size_H = drive_BTH.shape
        steps = rule.inner_steps
        W_t = W_HH.t()
        fades = fade_T.tolist()
        h_BTH = torch.zeros_like(drive_BTH, memory_format=torch.contiguous_format)
        # The backward pass needs only the normalised sums.
        normal_TSBH = drive_BTH.new_empty(size_T, rule.normal_sums, size_B, size_H)
        guess_TSBH = drive_BTH.new_empty(size_T, steps, size_B, size_H)
        moments: list[tuple[Tensor, Tensor]] = []
        shape = (size_H,)
        activation = _RELU if rule.relu else torch.tanh
        first_normal = rule.first_normal
        # `unbind` makes all views at once: one by one they would cost a fifth of this pass.
        drives, outputs = drive_BTH.unbind(1), h_BTH.unbind(1)
        sums, guesses = _sums(normal_TSBH, steps), _unbound(guess_TSBH)
        h = h_BH
        for block in blocks(h_BTH, weight_T):
            for t in block.steps:
                z = torch.addmm(drives[t], h, W_t, out=sums[t][0])
                u = z
                for s in range(steps + 1):
                    if s:
                        u = sums[t][s].copy_(z)
                        if t:
                            u.unsqueeze(1).baddbmm_(block.shares(t, h), block.past_BPH)
                        if A_BHH is not None:
                            u.add_(torch.bmm(A_BHH, h[:, :, None])[:, :, 0], alpha=fades[t])
                    v = u
                    if s >= first_normal:
                        v, mean, scale = torch.native_layer_norm(u, shape, gain_H, bias_H, EPSILON)
                        moments.append((mean, scale))
                    target = outputs[t] if s == steps else guesses[t][s]
                    h = activation(v, out=target)
        ctx.rule, ctx.fades, ctx.moments = rule, fades, moments
        ctx.save_for_backward(W_HH, gain_H, weight_T, h_BH, A_BHH, h_BTH, normal_TSBH, guess_TSBH)
        return h_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_BTH: Tensor) -> tuple[Tensor | None, ...]:
        # `dx` is the gradient of `x`.
        W_HH, gain_H, weight_T, h_BH, A_BHH, h_BTH, normal_TSBH, guess_TSBH = ctx.saved_tensors
        rule: Rule = ctx.rule
        size_T = h_BTH.shape[1]
        steps, first_normal = rule.inner_steps, rule.first_normal
        fades, latest_moments = ctx.fades, reversed(ctx.moments)
        needs = ctx.needs_input_grad
        dh_BTH = out_BTH.clone(memory_format=torch.contiguous_format)
        dnormal_TSBH, dz_BTH = torch.empty_like(normal_TSBH), torch.empty_like(dh_BTH)
        dfade_T, dweight_T = weight_T.new_zeros(size_T), weight_T.new_zeros(size_T)
        dA_BHH: Tensor | None = None
        activation_backward = relu_backward if rule.relu else tanh_backward
        outputs, doutputs, dzs = h_BTH.unbind(1), dh_BTH.unbind(1), dz_BTH.unbind(1)
        sums, dsums = _sums(normal_TSBH, steps), _sums(dnormal_TSBH, steps)
        guesses = _unbound(guess_TSBH)
        for block in blocks(h_BTH, weight_T, last_first=True):
            reads = BlockGradients(block, guess_TSBH[block.begin : block.end])
            for t in reversed(block.steps):
                dh = doutputs[t]
                if t + 1 < block.end:
                    dh = reads.of_state(t).add_(dh)
                dus: list[Tensor] = []
                for s in reversed(range(steps + 1)):
                    h = outputs[t] if s == steps else guesses[t][s]
                    du = activation_backward(dh, h, grad_input=dsums[t][s])
                    if s >= first_normal:
                        du = _normal_backward(du, sums[t][s], next(latest_moments), gain_H)[0]
                    dus.append(du)
                    if s == 0:
                        break
                    dh = reads.of_guess(t, s - 1, du)
                    if A_BHH is not None:
                        by_A_BH = torch.bmm(du[:, None], A_BHH)[:, 0]
                        if needs[5]:
                            dfade_T[t] += (by_A_BH * guesses[t][s - 1]).sum()
                        dh = dh.add(by_A_BH, alpha=fades[t])
                reduce(partial(torch.add, out=dzs[t]), dus)
                if t:
                    doutputs[t - 1].addmm_(dzs[t], W_HH)
            reads.add_to_earlier(dh_BTH)
            if needs[6]:
                reads.add_to_weights(dweight_T)
            if needs[8]:
                by_block_BHH = reads.of_memory(fades)
                dA_BHH = by_block_BHH if dA_BHH is None else dA_BHH.add_(by_block_BHH)
        dW_HH, dh_BH = slow_weight_gradients(dz_BTH, W_HH, h_BH, h_BTH)
        dgain_H, dbias_H = torch.zeros_like(gain_H), torch.zeros_like(gain_H)
        if rule.normalise:
            mean_RB1, scale_RB1 = map(torch.stack, zip(*ctx.moments, strict=True))
            _, dgain_H, dbias_H = _normal_backward(
                dnormal_TSBH.flatten(0, 1),
                normal_TSBH.flatten(0, 1),
                (mean_RB1, scale_RB1),
                gain_H,
                of_input=False,
            )
        return None, dz_BTH, dW_HH, dgain_H, dbias_H, dfade_T, dweight_T, dh_BH, dA_BHH


def _normal_backward(
    dv: Tensor, u: Tensor, moments: tuple[Tensor, Tensor], gain_H: Tensor, of_input: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of layer normalisation: of its input, or else of gain and bias."""
    gradients: tuple[Tensor, Tensor, Tensor] = layer_norm_backward(
        dv, u, gain_H.shape, *moments, gain_H, gain_H, (of_input, not of_input, not of_input)
    )
    return gradients


_RELU = partial(torch.clamp_min, min=0)


def _unbound(x_TSBH: Tensor) -> list[tuple[Tensor, ...]]:
    """x_BH of each step and inner step."""
    return [x_SBH.unbind() for x_SBH in x_TSBH.unbind()]


def _sums(normal_TSBH: Tensor, inner_steps: int) -> list[tuple[Tensor, ...]]:
    """Where each step's S + 1 sums go: those that are normalised have a place, the others the same one."""
    size_T, normal, size_B, size_H = normal_TSBH.shape
    others = normal_TSBH.new_empty(inner_steps + 1 - normal, size_B, size_H).unbind()
    return [(*others, *kept) for kept in _unbound(normal_TSBH)] if normal else [others] * size_T
