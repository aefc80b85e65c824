"""Local steps: each rank trains alone for a while, then what that changed is averaged once.

With an outer rate of 1 and no outer momentum this is local SGD (Stich 2018), otherwise DiLoCo
(Douillard et al. 2023, algorithm 1): the mean change is a gradient for an outer optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firetree.sync import Synchroniser
from firetree.training.finite import NotFiniteError
from firetree.training.recipe import SyncRecipe

OUTER_MOMENTUM = "outer_momentum"


class LocalSteps:
    """The outer optimiser of one rank; its weights, which all ranks share, are those of the last average."""

    def __init__(self, model: nn.Module, synchroniser: Synchroniser, sync: SyncRecipe):
        self.every = sync.local_steps
        self._inner = [p for p in model.parameters() if p.requires_grad]
        self._synchroniser = synchroniser
        self._outer = nn.Parameter(_flat(self._inner))
        self._optimizer = torch.optim.SGD(
            [self._outer],
            lr=sync.outer_lr,
            momentum=sync.outer_momentum,
            nesterov=sync.outer_momentum > 0,
        )
        self._spoiled = False

    def spoil(self) -> None:
        """A gradient here was no number: let every rank know at the next average."""
        self._spoiled = True

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Step along the mean of what the ranks have changed; all ranks call it together.

        Raises:
            NotFiniteError: some rank's gradients were no numbers, on all ranks alike; the weights are
                then those of the last average.
        """
        change = self._outer - _flat(self._inner)
        if self._spoiled:
            change.fill_(torch.nan)
            self._spoiled = False
        self._synchroniser.average(change)
        finite = bool(torch.isfinite(change).all())
        if finite:
            self._outer.grad = change
            self._optimizer.step()
        # PyTorch's own vector_to_parameters wants parameters that are contiguous in memory.
        for part, p in zip(
            torch.split(self._outer, [p.numel() for p in self._inner]), self._inner, strict=True
        ):
            p.copy_(part.view(p.shape))
        if not finite:
            raise NotFiniteError(
                f"a loss or gradient is not finite in the {self.every} local steps before step {step + 1}; "
                "lower optim.lr"
            )

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the weights."""
        moments = self._optimizer.state[self._outer]
        buffer = moments.get("momentum_buffer")
        return {} if buffer is None else {OUTER_MOMENTUM: buffer}

    @torch.no_grad()
    def restore(self, momentum: Tensor | None) -> None:
        """Go on from a checkpoint, whose weights the model has already."""
        self._outer.copy_(_flat(self._inner))
        if momentum is not None:
            self._optimizer.state[self._outer]["momentum_buffer"] = momentum.to(
                self._outer.device, copy=True
            )


@torch.no_grad()
def share_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, group: dist.ProcessGroup
) -> None:
    """Let all ranks go on with the mean of their optimisers' moments, which a checkpoint then holds.

    Counts of steps, which have no axes, stay as they are.
    """
    for moment in moments(model, optimizer).values():
        if moment.ndim:
            dist.all_reduce(moment, group=group)
            moment.div_(group.size())


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments and counts by name, in an order that is alike on all ranks."""
    return {
        f"{name}/{quantity}": value
        for name, parameter in model.named_parameters()
        for quantity, value in sorted(optimizer.state.get(parameter, {}).items())
        if isinstance(value, Tensor)
    }


def _flat(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
