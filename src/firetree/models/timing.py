"""How long a training step computes, and when in its backward pass each gradient is ready.

It is measured on this machine, without what sending the gradients adds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from firetree.errors import UserError
from firetree.models.cost import kept_buffers
from firetree.models.inputs import Inputs, call, shapes_of
from firetree.models.outputs import tensors, total
from firetree.models.profile import Gradient, Profile


def measure(module: nn.Module, example: Inputs, repeats: int = 3) -> Profile:
    """Time forward and backward pass over one batch: `example` as it is.

    Times are medians over `repeats`, after one pass that is not counted. The loss is the sum of all
    outputs, so each classifier's parameters get gradients; unused parameters are left out. The module
    keeps its mode, weights and gradients.

    Raises:
        UserError: the module does not take the example, or trains no parameter on it.
    """
    if repeats < 1:
        raise UserError(f"{repeats} repeats; expected 1 or more")
    try:
        with kept_buffers(module), _kept_gradients(module):
            passes = [_timed_pass(module, example) for _ in range(repeats + 1)][1:]
    except Exception as error:
        raise UserError(
            f"no training step with a batch of shape {shapes_of(example)}: "
            f"{' '.join(str(error).split())}; expected an example that the network takes, which a "
            "function can return beside it"
        ) from error
    if not passes[0].ready_s:
        raise UserError("the network trains no parameter; expected one that requires a gradient")
    parameters = dict(module.named_parameters())
    ready_s = {name: median(one.ready_s[name] for one in passes) for name in passes[0].ready_s}
    return Profile(
        median(one.forward_s for one in passes),
        median(one.backward_s for one in passes),
        tuple(
            Gradient(name, parameters[name].nbytes, ready_s[name], tuple(parameters[name].shape))
            for name in sorted(ready_s, key=ready_s.__getitem__)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Pass:
    forward_s: float
    backward_s: float
    ready_s: dict[str, float]


def _timed_pass(module: nn.Module, example: Inputs) -> _Pass:
    arrived_s: dict[str, float] = {}
    device = next((tensor.device for tensor in tensors(example)), torch.device("cpu"))

    def arrive(name: str, _: Tensor) -> None:
        arrived_s[name] = _now_s(device)

    handles = [
        parameter.register_post_accumulate_grad_hook(partial(arrive, name))  # type: ignore[no-untyped-call]
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]
    module.zero_grad()
    try:
        start_s = _now_s(device)
        loss = total(call(module, example))
        forward_s = _now_s(device)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        end_s = _now_s(device)
    finally:
        for handle in handles:
            handle.remove()
    ready_s = {name: at_s - forward_s for name, at_s in arrived_s.items()}
    return _Pass(forward_s - start_s, end_s - forward_s, ready_s)


@contextmanager
def _kept_gradients(module: nn.Module) -> Iterator[None]:
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _now_s(device: torch.device) -> float:
    """The time at which the device has finished all work so far."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
