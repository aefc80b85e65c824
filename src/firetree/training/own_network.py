"""The network of a recipe, and what is found out about one of the user's own before it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from firetree import own_code
from firetree.data import Splits
from firetree.errors import UserError
from firetree.models import total
from firetree.models.cost import kept_buffers
from firetree.models.families import ModelRecipe, OwnModel
from firetree.models.inputs import Inputs, call, mapped, shapes_of
from firetree.models.outputs import tensors
from firetree.own_code import is_timm
from firetree.tasks import ImageClassification, Task

TRIED = 2
"""Samples with which a network is tried: batch normalisation may need more than one."""


def build_network(recipe: ModelRecipe, task: Task) -> nn.Module:
    """The network that a recipe describes.

    Raises:
        UserError: a name or field that no network for this task has, or code that fails or gives none.
    """
    if not isinstance(recipe, OwnModel):
        return task.build(asdict(recipe))
    network = task.build(asdict(recipe)) if is_timm(recipe.name) else _own(recipe)
    if isinstance(task, ImageClassification):
        _check_test_size(recipe.name, network, task.splits)
    return network


def _own(recipe: OwnModel) -> nn.Module:
    made = own_code.make(recipe.name, recipe.arguments)
    network = made[0] if isinstance(made, tuple) and made else made  # an example may be beside it
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{recipe.name} gave a value of type {type(network).__name__}; expected a torch.nn.Module"
        )
    return network


@torch.no_grad()
def _check_test_size(name: str, network: nn.Module, splits: Splits) -> None:
    """Refuse test images of another size than the training images' where the network does not take them."""
    size = splits.test.size
    if size == splits.size:
        return
    try:
        network.eval()(torch.zeros(1, splits.channels, size, size))
    except Exception as error:
        raise UserError(
            f"data.test_size = {size}, which {name} does not take: {own_code.one_line(error)}"
        ) from error
    network.train()


@dataclass(frozen=True, slots=True)
class Tried:
    """Whether a network takes channels that are adjacent in memory, and the parameters without a gradient."""

    channels_last: bool = True
    unused: tuple[str, ...] = ()

    @property
    def remark(self) -> str | None:
        """A line about parameters without a gradient."""
        if not self.unused:
            return None
        more = f" and {len(self.unused) - 1} more" if len(self.unused) > 1 else ""
        return f"parameters without a gradient are looked for in each step: {self.unused[0]}{more}"


def try_out(name: str, network: nn.Module, example: Inputs) -> Tried:
    """Send a batch through a network of the user's own and back; it stays as it is.

    Raises:
        UserError: it does not take the batch, or gives nothing with a gradient.
    """
    if any(tensor.dim() == 4 for tensor in tensors(example)):
        try:
            return Tried(True, _pass(network, example, torch.channels_last))
        except RuntimeError:  # as `view` raises where only the order in memory is wrong
            pass
    try:
        return Tried(False, _pass(network, example, torch.contiguous_format))
    except Exception as error:
        raise UserError(
            f"{name} fails on a batch of shape {shapes_of(example)}: {own_code.one_line(error)}"
        ) from error


def _pass(
    network: nn.Module, example: Inputs, memory_format: torch.memory_format
) -> tuple[str, ...]:
    """The parameters that get no gradient."""

    def lay_out(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=memory_format) if tensor.dim() == 4 else tensor

    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    network.zero_grad()  # of a pass that failed
    with kept_buffers(network):
        loss = total(call(network, mapped(lay_out, example)))
        if not loss.requires_grad:
            raise ValueError("no output has a gradient")
        loss.backward()  # type: ignore[no-untyped-call]
    named = network.named_parameters()
    unused = tuple(name for name, it in named if it.requires_grad and it.grad is None)
    network.zero_grad()
    return unused
