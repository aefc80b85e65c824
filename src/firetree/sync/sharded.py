"""A model that FSDP shards: its collectives are measured, and left as they are."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firetree.observing import watch_model
from firetree.peers import StoreExchange
from firetree.sync.clocks import HostClock
from firetree.sync.record import Record, size_of
from firetree.torch_private import group_store, group_timeout_s
from firetree.trace import SHARDED

_COLLECTIVES = (
    *("all_gather_single", "reduce_scatter_single"),
    *("all_gather_into_tensor", "reduce_scatter_tensor"),  # their names before torch 2.13
)


# By name: importing FSDP takes as long as importing torch.
_KINDS = {"FSDPModule", "FullyShardedDataParallel"}


def is_sharded(model: object) -> bool:
    """Whether FSDP shards a model's weights over the ranks."""
    return not _KINDS.isdisjoint(base.__name__ for base in type(model).__mro__)


def observe_sharded(model: nn.Module, run_dir: str | PathLike[str] | None) -> ShardedSums:
    """Measure a sharded model's steps and collectives; all ranks call it together."""
    group = dist.group.WORLD
    assert group is not None
    sums = ShardedSums(group)
    if run_dir is not None:
        ranks, timeout_s = range(group.size()), group_timeout_s(group, torch.device("cpu"))
        exchange = StoreExchange(group_store(), ranks, group.rank(), "firetree.attach", timeout_s)
        watch_model(model, group, sums, Path(run_dir), exchange.gather)
    return sums


class ShardedSums:
    """What FSDP's collectives take, each told as a bucket: the whole tensor that it gathers or sums.

    One lasts from its call until somebody has waited for it; they are numbered in each step. Only this process's first sharded model
    makes one of these: all of FSDP's collectives are in it.
    """

    algorithm, bytes_counted_by = SHARDED, "formula"

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.record = Record(HostClock(), group)
        self._share = (group.size() - 1) / group.size()
        self._sent_bytes = 0.0
        self._open: WeakKeyDictionary[dist.Work, tuple[int, float]] = WeakKeyDictionary()
        for name in _COLLECTIVES:
            if hasattr(dist, name):
                setattr(dist, name, self._measured(getattr(dist, name)))
        dist.Work.wait = self._ending(dist.Work.wait)  # type: ignore[method-assign]

    def sent_bytes(self) -> int:
        """Bytes sent to all peers so far, as a ring of the ranks sends them."""
        return int(self._sent_bytes)

    def _measured(self, collective: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(collective)
        def called(*arguments: Any, **named: Any) -> Any:
            tensors = [it for it in (*arguments, *named.values()) if isinstance(it, Tensor)]
            size_bytes = max(map(size_of, tensors), default=0)
            begun = size_bytes, time.monotonic()
            self._sent_bytes += self._share * size_bytes
            work = collective(*arguments, **named)
            if isinstance(work, dist.Work):
                self._open[work] = begun
            else:
                self._end(*begun)
            return work

        return called

    def _ending(self, wait: Callable[..., bool]) -> Callable[..., bool]:
        @functools.wraps(wait)
        def called(work: dist.Work, *arguments: Any, **named: Any) -> bool:
            done = wait(work, *arguments, **named)
            if begun := self._open.pop(work, None):
                self._end(*begun)
            return done

        return called

    def _end(self, size_bytes: int, start_s: float) -> None:
        marks = start_s, start_s, time.monotonic()
        self.record.add(self.record.count, size_bytes, marks, ((), ()))
