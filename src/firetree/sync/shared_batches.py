"""`shares`: batches of a script's own training, shared among unequal machines by their measured speed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from firetree.data.order import epoch_order
from firetree.data.shares import Shares, apportion, share, step_sizes
from firetree.data.speeds import LOOK_STEPS, MOST_STEPS, better_shares, called, gain
from firetree.errors import UserError
from firetree.models.batch_norm import normalises_batches
from firetree.peers import BACKEND, StoreExchange, agree, broadcast_json, gather_json
from firetree.sync.clocks import Clock, GpuClock, HostClock
from firetree.sync.script import connected, timeout_s_of
from firetree.torch_private import group_store

Batch = TypeVar("Batch")

Weigh = Callable[[Tensor], Tensor]
"""Takes a rank's mean loss, and gives what DDP's mean over ranks makes the mean over a batch."""

_WHERE = "firetree.shares"
_VERSION = 1


class SharedBatches(Sampler[list[int]]):
    """Batches of sample numbers, of which each rank has a share; `shares` makes it.

    An epoch has every sample once, in an order by seed and epoch. Batch k is the same samples whatever the
    ranks' shares of it; the last one may be smaller, or larger by fewer samples than there are ranks.

    Attributes:
        epoch: the one under way, from 0 on.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: int,
        batch_size: int,
        seed: int,
        group: dist.ProcessGroup | None,
    ):
        self.epoch = 0
        self._samples, self._batch_size, self._seed = samples, batch_size, seed
        self._group = group
        self._rank, self._world_size = (group.rank(), group.size()) if group else (0, 1)
        self._done = self._drawn = 0
        """Batches of the epoch that were trained on, and batches of all epochs that were drawn."""
        self._sizes = step_sizes(samples, batch_size, self._world_size)
        self._changes = [(0, apportion(batch_size, [1.0] * self._world_size))]
        """Shares, and the first batch of all epochs that is cut so."""
        on_gpu = any(it.is_cuda for it in model.parameters())
        self._clock: Clock = GpuClock() if on_gpu else HostClock()
        self._ready: Any = None
        self._marks = deque[tuple[Any, Any, int]](maxlen=MOST_STEPS)
        """When a batch was asked for, when this rank's gradients were ready, and its samples."""
        self._balances = self._world_size > 1 and not normalises_batches(model)
        if self._balances:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(self._note_gradient)  # type: ignore[no-untyped-call]
        elif self._world_size > 1:
            self._say(
                "shares stay equal: batch normalisation is over each rank's own samples, of which a small share "
                "would have other statistics"
            )

    @property
    def shares(self) -> Shares:
        """Each rank's samples of a batch, from the next batch that is drawn on."""
        return self._changes[-1][1]

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's sample numbers of each batch that is left of the epoch, for a DataLoader."""
        order_N = epoch_order(self._samples, self._seed, self.epoch)
        batches = np.split(order_N, np.cumsum(self._sizes)[:-1])
        for number, indices_B in enumerate(batches[self._done :], self._number):
            self._drawn = number + 1
            yield share(indices_B, self._rank, self._parts_of(number)).tolist()

    def over(self, loader: Iterable[Batch]) -> Iterator[tuple[Weigh, Batch]]:
        """What is left of the epoch, batch by batch, each with what weighs this rank's mean loss.

        DDP takes the mean over the ranks. With `weigh(loss).backward()` that is the mean over the batch's
        samples, whoever has them. All ranks train on a batch before the next one is asked for; now and
        then they compare their speeds in between.

        Args:
            loader: a DataLoader whose `batch_sampler` this is.

        Raises:
            UserError: it is not; or a batch's loss was not weighed, so that gradients were wrong.
        """
        if getattr(loader, "batch_sampler", None) is not self:
            raise UserError(f"{_WHERE}: expected DataLoader(dataset, batch_sampler=shares)")
        batches = iter(loader)
        while self._done < len(self):
            start = self._clock.mark()
            batch = next(batches)
            parts = self._parts_of(self._number)
            samples, size = parts[self._rank], sum(parts)
            self._ready, self._is_weighed = None, False
            self._done += 1
            yield partial(self._weigh, self._world_size * samples / size), batch
            if not self._is_weighed:
                raise UserError(
                    f"{_WHERE}: the loss of a batch was not weighed, so its gradient is wrong; call "
                    "weigh(loss).backward()"
                )
            if self._ready is not None and size == self._batch_size:
                self._marks.append((start, self._ready, samples))
            if self._balances and self._number % LOOK_STEPS == 0:
                self._look()
        self.epoch, self._done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Where training is, for a checkpoint; it is the same on all ranks."""
        return {
            "version": _VERSION,
            "epoch": self.epoch,
            "samples": sum(self._sizes[: self._done]),
            "shares": list(self.shares),
            "order": self._order(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken, also with another number of ranks, whose shares are equal first.

        Raises:
            UserError: of other samples, batches or seeds, or of another version; or fewer samples are left of
                the epoch than there are ranks.
        """
        if state.get("version") != _VERSION:
            raise UserError(
                f"{_WHERE}: a state of version {state.get('version')!r}; expected {_VERSION}"
            )
        if state["order"] != self._order():
            raise UserError(
                f"{_WHERE}: a state of {state['order']}, but these are {self._order()}; expected the same"
            )
        # Counted in samples, as with more ranks an epoch may have one batch less.
        done, left = state["samples"] // self._batch_size, self._samples - state["samples"]
        if 0 < left < self._world_size:
            raise UserError(
                f"{_WHERE}: samples left of the epoch: {left}, fewer than the {self._world_size} ranks; go on "
                f"with at most {left}, or from another state"
            )
        self.epoch, self._done = state["epoch"], done if left else len(self)
        if len(state["shares"]) == self._world_size:
            self._changes = [(0, tuple(state["shares"]))]

    def _order(self) -> dict[str, int]:
        """What samples' order depends on."""
        return {"samples": self._samples, "batch_size": self._batch_size, "seed": self._seed}

    @property
    def _number(self) -> int:
        """Batches that were trained on in all epochs."""
        return self.epoch * len(self) + self._done

    def _parts_of(self, number: int) -> Shares:
        """Each rank's samples of a batch, counted over all epochs."""
        shares = next(it for first, it in reversed(self._changes) if first <= number)
        return apportion(self._sizes[number % len(self)], shares)

    def _weigh(self, weight: float, loss: Tensor) -> Tensor:
        self._is_weighed = True
        return loss * weight

    def _note_gradient(self, _: Tensor) -> None:
        self._ready = self._clock.mark()

    def _look(self) -> None:
        """Share later batches by speed; a loader's workers may have drawn some ahead."""
        starts_s = self._clock.seconds([start for start, *_ in self._marks])
        ends_s = self._clock.seconds([ready for _, ready, _ in self._marks])
        each = zip(starts_s, ends_s, self._marks, strict=True)
        sample_s = [(end_s - start_s) / samples for start_s, end_s, (*_, samples) in each]
        told = gather_json([self._drawn, sample_s], self._group)
        steps = min(len(of_rank) for _, of_rank in told)
        # Other hosts' arithmetic may differ in the last digit: the first rank decides.
        found = broadcast_json(
            better_shares(self.shares, [of_rank[-steps:] for _, of_rank in told])
            if steps >= LOOK_STEPS
            else None,
            self._group,
        )
        if found is None:
            return
        shares, saved = found
        self._changes.append((max(drawn for drawn, _ in told), tuple(shares)))
        self._marks.clear()
        self._say(f"batch {self._number}: {called(shares)}, {gain(saved)}")

    def _say(self, text: str) -> None:
        if self._rank == 0:
            logging.getLogger("firetree").warning("%s: %s", _WHERE, text)


def shares(model: nn.Module, dataset: Sized, *, batch_size: int, seed: int = 0) -> SharedBatches:
    """Share each batch among unequal machines by their measured speed, in a training script of your own.

    Call it on every rank, for the model that DDP wraps. Give it to a DataLoader as its `batch_sampler`,
    and train on what `over` gives. Ranks begin with equal shares, compare every five batches how long a
    sample took them, and share later ones anew where that saves the slowest 5 % of its time. Gradients are
    those of one process with the whole batch, but for rounding. Where batch normalisation would see a
    small share's own statistics, shares stay equal, and that is said.

    Args:
        model: in DDP, attached or not; a network without DDP is a job of one rank.
        dataset: what the DataLoader reads; only its length is asked for.
        batch_size: samples of a batch over all ranks together.
        seed: of the order of samples.

    Raises:
        UserError: fewer samples than a batch has or fewer of these than ranks, or ranks differ.
        CollectiveError: a rank does not come.

    Example:
        >>> dataset = torch.utils.data.TensorDataset(torch.randn(256, 8), torch.randn(256, 2))
        >>> model = torch.nn.Linear(8, 2)  # in DDP
        >>> shares = firetree.shares(model, dataset, batch_size=64)
        >>> loader = torch.utils.data.DataLoader(dataset, batch_sampler=shares)
        >>> for weigh, (x, y) in shares.over(loader):
        ...     weigh(torch.nn.functional.mse_loss(model(x), y)).backward()
    """
    group = _connected(model) if isinstance(model, DistributedDataParallel) else None
    samples, ranks = len(dataset), group.size() if group else 1
    if group:
        told = {"samples": samples, "batch_size": batch_size, "seed": seed}
        agree(told, f"call {_WHERE} with the same arguments on every rank", group)
    if not ranks <= batch_size <= samples:
        raise UserError(
            f"{_WHERE}: batch_size is {batch_size}; expected {ranks} or more, one sample a rank, and no "
            f"more than the data set's {samples}"
        )
    return SharedBatches(model, samples, batch_size, seed, group)


def _connected(model: DistributedDataParallel) -> dist.ProcessGroup:
    """A group of our own of the model's ranks."""
    group = model.process_group
    timeout_s = timeout_s_of(group, model.device)
    ranks = dist.get_process_group_ranks(group)
    exchange = StoreExchange(group_store(group), ranks, group.rank(), _WHERE, timeout_s)
    exchange.gather(None)  # tells who has not come
    name = f"{_WHERE} {exchange.number} beside {group.group_name}"
    return connected(name, BACKEND, timeout_s, group, _WHERE)
