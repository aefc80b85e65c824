"""Measure a network's layers on images: second moments of inputs, and sensitivity to each weight.

Letters in names: B images, C channels, P positions of a filter, H and W its height and
width, F all its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firetree.errors import UserError
from firetree.modelfiles import Model

_POSITIONS = 512
"""Positions of an image that are measured; more would hardly change the result."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measurements of each layer, by the name of its weights."""

    moments_FF: Mapping[str, Tensor]
    """The mean of x xᵀ over a layer's inputs x; missing for grouped convolutions."""
    sensitivity: Mapping[str, float]
    """The mean squared gradient of a weight, with labels drawn from the network's own answer. It is the
    diagonal of Fisher's information: how fast the answer changes with a weight."""


def check_answers(model: Model, logits_BK: Tensor) -> None:
    """Raise UserError where an answer to an image is NaN or infinite."""
    if not bool(logits_BK.isfinite().all()):
        name, tensor = max(model.state.items(), key=lambda item: float(item[1].abs().max()))
        raise UserError(
            f"the model answers an image by NaN or infinity; expected weights of usual size, the "
            f"largest is {float(tensor.abs().max()):.3g} in {name}"
        )


def calibrate(model: Model, x_BCHW: Tensor) -> Calibration:
    """Run forward and backward passes image by image, so that no two gradients cancel out.

    Raises:
        UserError: an answer that is not finite.
    """
    network = model.build().requires_grad_(True)
    layers: dict[str, nn.Conv2d | nn.Linear] = {
        f"{name}.weight": layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    totals: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    squares = dict.fromkeys(layers, 0.0)
    generator = torch.Generator().manual_seed(0)
    handles = [
        layer.register_forward_pre_hook(_adder(name, totals, counts, generator))
        for name, layer in layers.items()
        if not isinstance(layer, nn.Conv2d) or layer.groups == 1
    ]
    for one_BCHW in torch.split(x_BCHW, 1):
        logits_BK = network(one_BCHW)
        check_answers(model, logits_BK.detach())
        with torch.no_grad():
            label_B = torch.multinomial(logits_BK.softmax(1), 1, generator=generator)[:, 0]
        network.zero_grad()
        F.cross_entropy(logits_BK, label_B, reduction="sum").backward()  # type: ignore[no-untyped-call]
        for name, layer in layers.items():
            if layer.weight.grad is not None:
                squares[name] += float(layer.weight.grad.double().square().mean())
    for handle in handles:
        handle.remove()
    return Calibration(
        {name: total / counts[name] for name, total in totals.items()},
        {name: square / len(x_BCHW) for name, square in squares.items()},
    )


def _adder(
    name: str, totals: dict[str, Tensor], counts: dict[str, int], generator: torch.Generator
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that adds the moments of a layer's inputs."""

    @torch.no_grad()
    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x_PF = _patches(layer, inputs[0], generator)
        totals[name] = totals.get(name, torch.zeros(())) + x_PF.T @ x_PF
        counts[name] = counts.get(name, 0) + len(x_PF)

    return add


def _patches(layer: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """x_PF: a filter's inputs at some of its positions."""
    if isinstance(layer, nn.Linear):
        return x
    assert isinstance(layer, nn.Conv2d)
    assert not isinstance(layer.padding, str)
    (down, across), (height, width) = layer.padding, layer.kernel_size
    padded = F.pad(x, (across, across, down, down))
    # A view of all positions; only the drawn ones are copied.
    windows = padded.unfold(2, height, layer.stride[0]).unfold(3, width, layer.stride[1])
    rows, columns = windows.shape[2:4]
    position_P = torch.randperm(rows * columns, generator=generator)[:_POSITIONS]
    x_BCPHW = windows[:, :, position_P // columns, position_P % columns]
    return x_BCPHW.transpose(1, 2).flatten(2).flatten(0, 1)
