"""Losses that a recipe names: PyTorch's, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from firetree import own_code
from firetree.data.batches import NO_ANSWER
from firetree.errors import UserError, nearest
from firetree.fields import Arguments
from firetree.models.inputs import batch_of, shapes_of

Loss = Callable[..., Tensor]
"""From outputs and targets to the sum of each sample's loss."""

LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
}


_FIXED = {
    "reduction": "the loss is the mean over a step's samples",
    "ignore_index": f"answers that do not count are targets of {NO_ANSWER}",
}
"""Arguments of PyTorch's losses that training needs as they are, and what to know instead."""


@dataclass(frozen=True, slots=True)
class LossRecipe:
    """What training makes small."""

    name: str | None = None
    """cross_entropy, binary_cross_entropy (of logits), mse, l1, huber, or one of your own, as in
    mine:loss; None for the task's own."""
    arguments: Arguments = field(default_factory=dict)
    """What the loss takes besides, as in {delta = 0.5}."""


def check_loss(recipe: LossRecipe) -> None:
    """Raise UserError where there is no such loss."""
    if recipe.name is None:
        if recipe.arguments:
            raise UserError("loss.arguments without loss.name; expected both")
    elif recipe.name not in LOSSES and not own_code.is_own(recipe.name):
        raise UserError(f"loss.name = '{recipe.name}' is unknown{nearest(recipe.name, LOSSES)}")


def takes_blends(name: str) -> bool:
    """Whether the loss also takes shares of classes, which blended images have, in place of a class."""
    return name == "cross_entropy" or own_code.is_own(name)


def build_loss(name: str, arguments: Mapping[str, Any]) -> Loss:
    """The loss of this name.

    A sample's loss is the mean over its numbers. One of the user's own is a function of outputs and targets, or
    a class whose instance is one; it gives the mean over the samples, or each sample's loss.

    Raises:
        UserError: it cannot be loaded; later, it fails or does not fit the outputs.
    """
    if name not in LOSSES:
        return partial(_own, name, own_code.function_of(name, arguments))
    for argument, instead in _FIXED.items():
        if argument in arguments:
            raise UserError(f"loss.arguments has {argument}; leave it out: {instead}")
    return partial(_named, name, arguments)


def logits_of(outputs: Any) -> Tensor:
    """The tensor that a network gives, alone or as `logits` among others.

    Raises:
        UserError: there is none.
    """
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs
    if not isinstance(logits, Tensor):
        raise UserError(
            f"the network gives a value of type {type(outputs).__name__}; expected a tensor, or a mapping "
            "with logits; name a loss of your own by loss.name, as in mine:loss"
        )
    return logits


def scores(outputs: Tensor, y: Any) -> Tensor | None:
    """Scores of the classes that y numbers, along the last axis; None where outputs are no such scores.

    Outputs have them along the last axis, or, as PyTorch's cross-entropy has it, along the second. Where both
    may be, images have them along the second, and sequences along the last.
    """
    if not isinstance(y, Tensor) or y.is_floating_point() or not outputs.is_floating_point():
        return None
    last = outputs.shape[:-1] == y.shape
    second = outputs.dim() == y.dim() + 1 and outputs.shape[:1] + outputs.shape[2:] == y.shape
    if second and (outputs.dim() > 3 or not last):
        return outputs.movedim(1, -1)
    return outputs if last else None


def each_mean(each: Tensor, y: Tensor) -> Tensor:
    """mean_B: for each sample the mean over the answers that y asks for (all but -100)."""
    asked = y != NO_ANSWER
    if y.dim() == 1:
        return each * asked
    return (each * asked).flatten(1).sum(1) / asked.flatten(1).sum(1).clamp(min=1)


def classified(classes: Tensor, y: Tensor, **arguments: Any) -> Tensor:
    """Cross-entropy of `scores`, summed over the samples (UserError where y has a class that they lack)."""
    try:
        each = F.cross_entropy(classes.flatten(0, -2), y.flatten(), reduction="none", **arguments)
    except IndexError as error:
        last = classes.shape[-1] - 1
        wrong = next(it for it in y.flatten().tolist() if it != NO_ANSWER and not 0 <= it <= last)
        raise UserError(
            f"the network gives {last + 1} scores, and y has class {wrong}; expected classes from 0 to {last}"
        ) from error
    return each_mean(each.view(y.shape), y).sum()


def _named(name: str, arguments: Mapping[str, Any], outputs: Any, y: Tensor) -> Tensor:
    logits = logits_of(outputs).float()
    if name == "cross_entropy" and (classes := scores(logits, y)) is not None:
        return _told(name, partial(classified, classes, y, **arguments))
    if logits.shape != y.shape:
        raise UserError(
            f"loss.name = {name}: the network gives {shapes_of(logits)}, and y is {shapes_of(y)} of "
            f"{y.dtype}; expected shapes that are the same, as by outputs[:, 0] or y[:, None]"
        )
    loss = partial(LOSSES[name], logits, y.to(logits.dtype), reduction="none", **arguments)
    return _summed(_told(name, loss))


def _told(name: str, loss: Callable[[], Tensor]) -> Tensor:
    """The loss (UserError where PyTorch does not take its arguments)."""
    found: Tensor = own_code.run(f"loss.name = {name}", loss)
    return found


def _own(name: str, function: Callable[[Any, Any], Any], outputs: Any, y: Any) -> Tensor:
    value = function(outputs, y)
    if not isinstance(value, Tensor):
        raise UserError(f"{name} gave a value of type {type(value).__name__}; expected a tensor")
    if value.dim() == 0:
        return value * (batch_of(y) or batch_of(outputs))
    return _summed(value)


def _summed(each: Tensor) -> Tensor:
    """The sum of the samples' means."""
    return each.flatten(1).mean(1).sum() if each.dim() > 1 else each.sum()
