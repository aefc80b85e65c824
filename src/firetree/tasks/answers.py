"""The loss over answers to sequences, and how many are right: one a sequence, or one a step."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from firetree.data.sequences import NO_ANSWER


def summed_loss(outputs: Any, y: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy of logits (B, K) or (B, T, K), in float32, summed over what y asks for."""
    return cross_entropy(
        outputs.flatten(0, -2).float(),
        y.flatten(),
        ignore_index=NO_ANSWER,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def right(outputs: Tensor, y: Tensor) -> Tensor:
    """How many of the answers asked for have the highest logit."""
    return (outputs.argmax(-1) == y).sum()
