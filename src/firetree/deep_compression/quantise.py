"""Round weights to multiples of a step, so that the layer's output changes little (GPTQ).

Weights are rounded one column after another, and the columns that are not yet rounded compensate for the
error (Frantar et al. 2022, arXiv 2210.17323, after Hassibi and Stork's surgeon 1993). A zero is cheaper to
code than its neighbours, so slightly larger weights become 0 too.

Letters in names: O filters, F the weights of one filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.modelfiles.fire.numbers import to_half
from firetree.modelfiles.fire.shared import MOST_VALUES, Shared

DAMPING = 0.01
"""Added to the power of every input, as a part of the mean power."""

ZERO_REACH = 0.6
"""Weights below this many steps become 0; plain rounding would have 0.5."""

MOST_STEPS = (MOST_VALUES - 1) // 2
"""The most steps in either direction, so that a code is a byte."""

_BLOCK = 32
"""How many columns are rounded before all later ones are updated."""


@dataclass(frozen=True, slots=True)
class Compensation:
    """The order in which a filter's weights are rounded, and how later weights compensate."""

    order_F: Tensor
    factor_FF: Tensor
    """Upper triangular: the Cholesky factor of the inverse of the inputs' second moments."""


def compensation(moments_FF: Tensor) -> Compensation | None:
    """Strongest inputs come first; None where moments overflow float32, for plain rounding."""
    if not bool(moments_FF.isfinite().all()):
        return None
    power_F = moments_FF.diagonal()
    order_F = power_F.argsort(descending=True)
    damped_FF = moments_FF.double()[order_F][:, order_F]
    damped_FF.diagonal().add_(DAMPING * float(power_F.mean()) + 1e-12)
    inverse_FF = torch.cholesky_inverse(torch.linalg.cholesky(damped_FF))
    return Compensation(order_F, torch.linalg.cholesky(inverse_FF, upper=True).float())


def quantise(weight: Tensor, step: float, compensating: Compensation | None) -> Shared:
    """The weights as whole numbers of steps; without a compensation each is rounded on its own.

    Zeros stay, so that a pruned network stays sparse. The step grows where the largest weight has more
    steps than a code can hold.
    """
    step = whole_step(weight, step)
    w_OF = in_steps(weight, step).reshape(len(weight), -1)
    steps_OF = _rounded(w_OF) if compensating is None else _compensated(w_OF, compensating)
    return _shared(steps_OF.to(torch.int64).numpy().ravel(), step, tuple(weight.shape))


def whole_step(weight: Tensor, step: float) -> float:
    """The step, or a larger one where the largest weight would not fit a code."""
    return max(step, float(weight.abs().max()) / MOST_STEPS) or 1.0


def in_steps(weight: Tensor, step: float) -> Tensor:
    """The weights divided by the step, which float32 may not hold exactly."""
    return (weight.double() / step).float()


def _shared(steps: npt.NDArray[np.int64], step: float, shape: tuple[int, ...]) -> Shared:
    """The multiples that occur as a codebook, in floats of 16 bits where these suffice."""
    values = np.unique(steps[steps != 0])
    codes = np.where(steps == 0, 0, np.searchsorted(values, steps) + 1).astype(np.uint8)
    return Shared(shape, codes, to_half(values * step))


def _rounded(w: Tensor) -> Tensor:
    whole = w.round().clamp(-MOST_STEPS, MOST_STEPS)
    return torch.where(w.abs() < ZERO_REACH, 0.0, whole)


def _compensated(w_OF: Tensor, compensating: Compensation) -> Tensor:
    left_FO, factor_FF = w_OF[:, compensating.order_F].T.contiguous(), compensating.factor_FF
    kept_FO, steps_FO = left_FO != 0, torch.empty_like(left_FO)
    for begin in range(0, len(left_FO), _BLOCK):
        end = begin + _BLOCK
        # One product carries a block's errors to all later columns.
        block_FO, errors_FO = left_FO[begin:end], torch.empty_like(left_FO[begin:end])
        for k, (w_O, factor_F) in enumerate(zip(block_FO, factor_FF[begin:end], strict=True)):
            steps_O = _rounded(w_O) * kept_FO[begin + k]
            errors_FO[k] = (w_O - steps_O) / factor_F[begin + k]
            block_FO[k + 1 :].addr_(factor_F[begin + k + 1 : end], errors_FO[k], alpha=-1)
            steps_FO[begin + k] = steps_O
        left_FO[end:].addmm_(factor_FF[begin:end, end:].T, errors_FO, alpha=-1)
    return steps_FO[compensating.order_F.argsort()].T
