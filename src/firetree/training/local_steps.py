"""Local steps: each rank trains alone for some steps, then the ranks average the change of their weights.

With an outer rate of 1 and no outer momentum this is local SGD (Stich 2018), otherwise DiLoCo
(Douillard et al. 2023, algorithm 1): the mean change is a gradient for an outer optimiser.

Where changes are compressed, a rank may begin from the average alone (Sarfi et al. 2025, algorithm 1), or a
step ahead of it, where what it has not sent yet would take it (Xu, Huo, Huang 2020, arXiv 2008.05823).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from firetree.sync import Synchroniser
from firetree.tasks import TaskBatch
from firetree.training.finite import NotFiniteError
from firetree.training.recipe import SyncRecipe
from firetree.training.step_part import GradientMean

_OUTER_MOMENTUM = "outer_momentum"


class LocalSteps(GradientMean):
    """The ranks average what their optimisers changed, every `sync.local_steps` steps.

    The outer optimiser's weights are those of the last average, the same on all ranks.
    """

    def __init__(
        self,
        parallel: DistributedDataParallel,
        optimizer: torch.optim.Optimizer,
        synchroniser: Synchroniser,
        sync: SyncRecipe,
    ):
        super().__init__(parallel.module, synchroniser)
        self._every, self._steps_ahead = sync.local_steps, sync.step_ahead
        self._inner = [p for p in self._model.parameters() if p.requires_grad]
        self._inner_optimizer, self._group = optimizer, parallel.process_group
        self._outer = torch.nn.Parameter(_flatten(self._inner))
        self._optimizer = torch.optim.SGD(
            [self._outer],
            lr=sync.outer_lr,
            momentum=sync.outer_momentum,
            nesterov=sync.outer_momentum > 0,
        )
        self._spoiled = False
        self._begins = True

    @torch.no_grad()
    def before(self, step: int) -> None:
        """Step ahead from the last average, where the recipe says so."""
        super().before(step)
        if self._begins and self._steps_ahead:
            self._take(self._outer - self._synchroniser.unsent())
        self._begins = False

    def after_gradients(self, step: int, batch: TaskBatch, loss_sum: float, finite: bool) -> None:
        """Remember a NaN or infinite gradient, which the next average shows to every rank."""
        self._spoiled |= not finite

    @torch.no_grad()
    def after_step(self, step: int, looked_at: bool) -> None:
        """Step along the mean change of the ranks, where it is time or someone looks.

        Raises:
            NotFiniteError: a rank's gradients were not finite, on all ranks alike; the weights are
                then those of the last average.
        """
        if not looked_at and (step + 1) % self._every:
            return
        change = self._outer - _flatten(self._inner)
        if self._steps_ahead:
            change -= self._synchroniser.unsent()  # which compression adds
        if self._spoiled:
            change.fill_(torch.nan)
            self._spoiled = False
        self._synchroniser.average(change)
        finite = bool(torch.isfinite(change).all())
        if finite:
            self._outer.grad = change
            self._optimizer.step()
        self._take(self._outer)
        self._begins = True
        if not finite:
            raise NotFiniteError(
                f"a loss or gradient is not finite in the {self._every} local steps before step "
                f"{step + 1}; lower optim.lr"
            )

    def own(self) -> dict[str, Tensor]:
        """Also this rank's moments and step counts."""
        return super().own() | self._moments()

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """Also the outer momentum; all ranks go on with the mean of their moments.

        Step counts, which have no axes, stay as they are.
        """
        for moment in self._moments().values():
            if moment.ndim:
                dist.all_reduce(moment, group=self._group)
                moment.div_(self._group.size())
        buffer = self._optimizer.state[self._outer].get("momentum_buffer")
        return super().state() | ({} if buffer is None else {_OUTER_MOMENTUM: buffer})

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the model's weights, which are those of an average."""
        super().restore(state)
        self._outer.copy_(_flatten(self._inner))
        if _OUTER_MOMENTUM in state:
            buffer = state[_OUTER_MOMENTUM].to(self._outer.device, copy=True)
            self._optimizer.state[self._outer]["momentum_buffer"] = buffer

    def _take(self, weights: Tensor) -> None:
        """Go on from these weights."""
        # PyTorch's own vector_to_parameters wants parameters that are contiguous in memory.
        parts = torch.split(weights, [p.numel() for p in self._inner])
        for part, p in zip(parts, self._inner, strict=True):
            p.copy_(part.view(p.shape))

    def _moments(self) -> dict[str, Tensor]:
        """By name, in an order that is the same on all ranks."""
        state = self._inner_optimizer.state
        return {
            f"{name}/{quantity}": value
            for name, parameter in self._model.named_parameters()
            for quantity, value in sorted(state.get(parameter, {}).items())
            if isinstance(value, Tensor)
        }


def _flatten(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
