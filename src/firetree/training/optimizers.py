"""The optimiser of a recipe: SGD, signSGD or Adam, or for large batches LARS or LAMB.

LARS and LAMB scale the rate of each weight tensor by the norms of the tensor and of its update. Biases
and other vectors are stepped as by SGD and Adam, without weight decay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from firetree.models.layer_names import backbone
from firetree.training.recipe import OptimRecipe

LARS_TRUST = 0.001
"""η of LARS: a layer's update at a rate of 1, relative to the norm of its weights."""


def build_optimizer(optim: OptimRecipe, model: nn.Module) -> Optimizer:
    """The optimiser for all parameters of a model that are trained; biases and norms do not decay.

    The rate of a step is to be multiplied by the `rate_factor` of each group.
    """
    groups = [*_groups(optim, model)]
    match optim.batch_rule:
        case "lars":
            return Lars(groups, lr=optim.lr, momentum=optim.momentum)
        case "lamb":
            return Lamb(groups, lr=optim.lr)
        case _ if optim.optimizer == "adam":
            return AdamW(groups, lr=optim.lr, fused=True)
        case _ if optim.optimizer == "signsgd":
            return SignSgd(groups, lr=optim.lr)
        case _:
            nesterov = optim.nesterov and optim.momentum > 0  # PyTorch refuses it alone
            return SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=nesterov, fused=True)


def _groups(optim: OptimRecipe, model: nn.Module) -> Iterator[dict[str, Any]]:
    parameters = dict(model.named_parameters())
    slow, factor = backbone(parameters), (optim.backbone_lr or optim.lr) / optim.lr
    alike = defaultdict[tuple[bool, float], list[Tensor]](list)
    for name, it in parameters.items():
        if it.requires_grad:
            alike[it.ndim <= 1, factor if name in slow else 1.0].append(it)
    for (is_vector, rate_factor), chosen in sorted(alike.items(), key=lambda pair: pair[0]):
        decay = 0.0 if is_vector else optim.weight_decay
        yield {"params": chosen, "weight_decay": decay, "rate_factor": rate_factor}


class _EachTensor(Optimizer):
    """Steps each tensor by itself, with `_step`."""

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, parameter in self._with_gradients():
            self._step(group, parameter, self.state[parameter])
        return loss

    def _with_gradients(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    yield group, parameter

    def _step(self, group: dict[str, Any], weights: Tensor, state: dict[str, Tensor]) -> None:
        raise NotImplementedError


class SignSgd(_EachTensor):
    """Steps of one length along the gradients' signs (Bernstein et al. 2018, algorithm 1).

    A tensor w with gradient g and decay β steps by w ← (1 − γ·β)·w − γ·sign(g), as DeMo's does.

    Args:
        params: parameters or groups of them, as PyTorch's optimisers take them.
        lr: γ.
        weight_decay: β.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def _step(self, group: dict[str, Any], weights: Tensor, state: dict[str, Tensor]) -> None:
        assert weights.grad is not None
        weights.mul_(1 - group["lr"] * group["weight_decay"])
        weights.sub_(weights.grad.sign(), alpha=group["lr"])


class Lars(_EachTensor):
    """Layer-wise adaptive rates for SGD with momentum (You, Gitman, Ginsburg 2017, algorithm 1).

    A tensor w of two or more axes with gradient g and decay β steps by
    v ← m·v + γ·η·‖w‖ / (‖g‖ + β·‖w‖) · (g + β·w), w ← w − v.

    Args:
        params: parameters or groups of them, as PyTorch's optimisers take them.
        lr: γ, the global rate.
        momentum: m.
        weight_decay: β.
        trust: η.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = LARS_TRUST,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], weights: Tensor, state: dict[str, Tensor]) -> None:
        gradient, decay = weights.grad, group["weight_decay"]
        assert gradient is not None
        rate = torch.tensor(group["lr"], device=weights.device)
        if weights.ndim > 1:
            length, slope = weights.norm(), gradient.norm()
            local = group["trust"] * length / (slope + decay * length)
            rate = torch.where((length > 0) & (slope > 0), group["lr"] * local, rate)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weights)
        state["momentum_buffer"].mul_(group["momentum"]).add_(rate * (gradient + decay * weights))
        weights.sub_(state["momentum_buffer"])


class Lamb(_EachTensor):
    """Layer-wise adaptive rates for Adam (You et al. 2019, algorithm 2).

    A tensor w of two or more axes steps by γ·‖w‖/‖u‖·u, where u = m̂ / (√v̂ + ε) + β·w is Adam's step
    with decay β; a vector steps by γ·u.

    Args:
        params: parameters or groups of them, as PyTorch's optimisers take them.
        lr: γ, the global rate.
        betas: decay of the gradient's first and second moments.
        eps: ε.
        weight_decay: β.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def _step(self, group: dict[str, Any], weights: Tensor, state: dict[str, Tensor]) -> None:
        gradient, (beta1, beta2) = weights.grad, group["betas"]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = [torch.zeros_like(weights) for _ in range(2)]
        state["step"] += 1
        steps = state["step"].item()
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1) / (1 - beta1**steps)
        square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - beta2)
        square = square / (1 - beta2**steps)
        update = mean / (square.sqrt() + group["eps"]) + group["weight_decay"] * weights
        if weights.ndim > 1:
            length, stride = weights.norm(), update.norm()
            update *= torch.where((length > 0) & (stride > 0), length / stride, 1.0)
        weights.sub_(group["lr"] * update)
