"""What a network returns in training, and the loss over it.

Most networks return logits. A network with auxiliary classifiers returns `Outputs` in training mode, and
logits in evaluation.

Axes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary classifier's loss (Szegedy et al. 2015, section 5)."""


class Outputs(NamedTuple):
    """Logits of the main classifier, and of the auxiliary ones that only help to train."""

    logits_BK: Tensor
    auxiliary: tuple[Tensor, ...]
    """Each (B, K)."""


def summed_loss(
    outputs: Tensor | Outputs,
    y_B: Tensor,
    label_smoothing: float = 0.0,
    weights_K: Tensor | None = None,
) -> Tensor:
    """Cross-entropy summed over the batch, in float32, with that of auxiliary classifiers at 0.3.

    `label_smoothing` is the share of each label that is spread over all classes (Szegedy et al. 2016,
    section 7). `weights_K` is what each class counts; None for 1.
    """
    if not isinstance(outputs, Outputs):
        return cross_entropy(
            outputs.float(), y_B, weights_K, reduction="sum", label_smoothing=label_smoothing
        )
    loss = summed_loss(outputs.logits_BK, y_B, label_smoothing, weights_K)
    for logits_BK in outputs.auxiliary:
        each = summed_loss(logits_BK, y_B, label_smoothing, weights_K)
        loss = loss + AUXILIARY_WEIGHT * each
    return loss


def tensors(outputs: object) -> Iterator[Tensor]:
    """All tensors in a network's output: a tensor, or tuples, lists and mappings of them."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        yield from tensors(list(outputs.values()))
    elif isinstance(outputs, tuple | list):
        for output in outputs:
            yield from tensors(output)


def total(outputs: object) -> Tensor:
    """The sum of all outputs with a gradient; its backward pass reaches every parameter in use."""
    sums = [tensor.sum() for tensor in tensors(outputs) if tensor.requires_grad]
    return torch.stack(sums).sum() if sums else torch.zeros(())
