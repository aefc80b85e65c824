"""Local steps: each rank trains alone for some steps, then the ranks average the change of their weights.

With an outer rate of 1 and no outer momentum this is local SGD (Stich 2018), otherwise DiLoCo
(Douillard et al. 2023, algorithm 1): the mean change is a gradient for an outer optimiser. In fragments,
beside further steps, it is Streaming DiLoCo (Douillard et al. 2025, algorithm 2).

Where changes are compressed, a rank may begin from the average alone (Sarfi et al. 2025, algorithm 1), or a
step ahead of it, where what it has not sent yet would take it (Xu, Huo, Huang 2020, arXiv 2008.05823).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree.sync import Synchroniser
from firetree.tasks import TaskBatch
from firetree.training.finite import NotFiniteError
from firetree.training.recipe import SyncRecipe
from firetree.training.step_part import GradientMean

_OUTER_MOMENTUM, _SHARED = "outer_momentum", "shared"

_KEPT = 0.5
"""α: the part of its own weights that a rank keeps, where it took steps while these were averaged."""


class _Meeting(NamedTuple):
    """A fragment whose change is being replaced by its mean."""

    fragment: int
    change: Tensor
    mean: Future[Tensor]


class LocalSteps(GradientMean):
    """The ranks average what their optimisers changed, every `sync.local_steps` steps.

    Each of `sync.fragments` equal parts of the weights in a row has its own moment, and these are spread
    over the steps. A change is sent `sync.overlap_steps` steps before its mean is taken. Where someone
    looks at the weights, the ranks average all of them at once.

    The outer optimiser's weights are those of the last averages, the same on all ranks.
    """

    def __init__(
        self,
        parallel: DistributedDataParallel,
        optimizer: torch.optim.Optimizer,
        synchroniser: Synchroniser,
        sync: SyncRecipe,
    ):
        super().__init__(parallel.module, synchroniser)
        self._every, self._overlap = sync.local_steps, sync.overlap_steps
        self._streams, self._steps_ahead = sync.streams, sync.step_ahead
        self._inner = [p for p in self._model.parameters() if p.requires_grad]
        self._inner_optimizer, self._group = optimizer, parallel.process_group
        self._shared = _flatten(self._inner)
        parts = self._shared.tensor_split(sync.fragments)
        self._outer = [torch.nn.Parameter(part) for part in parts]
        self._optimizer = torch.optim.SGD(
            self._outer,
            lr=sync.outer_lr,
            momentum=sync.outer_momentum,
            nesterov=sync.outer_momentum > 0,
        )
        self._meetings: list[_Meeting] = []
        self._spoiled, self._apart = False, False
        self._begins = True

    @torch.no_grad()
    def before(self, step: int) -> None:
        """Step ahead from the last average, where the recipe says so.

        Spans are kept, as averages may go on beside steps.
        """
        if self._begins and self._steps_ahead:
            self._set(self._shared - self._synchroniser.unsent())
        self._begins = False

    def after_gradients(self, step: int, batch: TaskBatch, loss_sum: float, finite: bool) -> None:
        """Remember a NaN or infinite gradient, which the next average shows to every rank."""
        self._spoiled |= not finite

    @torch.no_grad()
    def after_step(self, step: int, looked_at: bool) -> None:
        """Step along the mean change of the ranks, where it is time or someone looks.

        Raises:
            NotFiniteError: a rank's gradients were not finite, on all ranks alike; the weights are
                then those of the last averages.
        """
        done, kept = step + 1, _KEPT if self._overlap else 0.0
        self._apart = self._streams and not looked_at
        if looked_at:
            self._end_meetings(done, kept)
            self._begin_meetings(range(len(self._outer)))
            self._end_meetings(done, 0.0)
            return
        self._begin_meetings(self._due(done + self._overlap))
        if self._due(done):
            self._end_meetings(done, kept)

    def _due(self, done: int) -> list[int]:
        """The fragment whose mean is taken after so many steps, if there is one."""
        count, at = len(self._outer), done % self._every or self._every
        return [it for it in range(count) if (it + 1) * self._every // count == at]

    def _begin_meetings(self, fragments: Sequence[int]) -> None:
        if not fragments:
            return
        whole = self._shared - _flatten(self._inner)
        if self._steps_ahead:
            whole -= self._synchroniser.unsent()  # which compression adds
        changes = whole.tensor_split(len(self._outer))
        for fragment in fragments:
            change = changes[fragment]
            if self._spoiled:
                change.fill_(torch.nan)
            mean = self._synchroniser.submit(change, -1 - fragment)  # no bucket of DDP's
            self._meetings.append(_Meeting(fragment, change, mean))
        self._spoiled = False

    def _end_meetings(self, done: int, kept: float) -> None:
        """Take the means, of which a rank mixes in all but the part `kept` of its own weights."""
        meetings, self._meetings, self._begins = self._meetings, [], True
        for it in meetings:
            it.mean.wait()
        self._synchroniser.raise_failure()
        if not all(bool(torch.isfinite(it.change).all()) for it in meetings):
            self._spoiled = False
            self._set(self._shared)
            self._synchroniser.record.take()  # the spans of a step that is left out
            raise NotFiniteError(
                f"a loss or gradient is not finite in the {self._every} local steps before step "
                f"{done}; lower optim.lr"
            )
        for it in meetings:
            self._outer[it.fragment].grad = it.change
        self._optimizer.step()
        self._optimizer.zero_grad()
        weights = _flatten(self._inner)
        parts = weights.tensor_split(len(self._outer))
        for it in meetings:
            parts[it.fragment].lerp_(self._outer[it.fragment], 1 - kept)
        self._set(weights)

    def _set(self, weights: Tensor) -> None:
        """Set the rank's own weights."""
        # PyTorch's own vector_to_parameters wants parameters that are contiguous in memory.
        parts = torch.split(weights, [p.numel() for p in self._inner])
        for part, p in zip(parts, self._inner, strict=True):
            p.copy_(part.view(p.shape))

    @torch.no_grad()
    def share(self) -> None:
        """Average the ranks' own weights, where these differ."""
        if self._apart:
            weights = _flatten(self._inner)
            dist.all_reduce(weights, group=self._group)
            self._set(weights.div_(self._group.size()))

    def own(self) -> dict[str, Tensor]:
        """Also this rank's moments and step counts, and its weights where they differ."""
        weights = {f"{name}/own": p.detach() for name, p in self._model.named_parameters()}
        return super().own() | self._moments() | (weights if self._streams else {})

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """Also the outer weights and momentum; all ranks go on with the mean of their moments.

        Step counts, which have no axes, stay as they are.
        """
        for moment in self._moments().values():
            if moment.ndim:
                dist.all_reduce(moment, group=self._group)
                moment.div_(self._group.size())
        found = super().state() | ({_SHARED: self._shared} if self._streams else {})
        if self._optimizer.defaults["momentum"]:
            # Zeros are what a momentum begins with.
            buffers = [self._momentum(it) for it in self._outer]
            found[_OUTER_MOMENTUM] = torch.cat(buffers)
        return found

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the outer weights, without which the model's are those of an average."""
        super().restore(state)
        self._shared.copy_(state.get(_SHARED, _flatten(self._inner)))
        if _OUTER_MOMENTUM in state:
            buffer = state[_OUTER_MOMENTUM].to(self._shared.device, copy=True)
            for it, part in zip(self._outer, buffer.tensor_split(len(self._outer)), strict=True):
                self._optimizer.state[it]["momentum_buffer"] = part

    def _momentum(self, outer: Tensor) -> Tensor:
        buffer: Tensor | None = self._optimizer.state[outer].get("momentum_buffer")
        return torch.zeros_like(outer) if buffer is None else buffer

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
