"""Averages buckets of gradients over the ranks while the backward pass goes on.

The way of a bucket to the wire is drawn in `firetree.sync`. What DDP and a script see of this
module is in `hook` and `script`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future

from firetree import collectives
from firetree.collectives import Executor
from firetree.collectives.executor import Carried
from firetree.errors import CollectiveError
from firetree.peers import RollCall, backend_error, carrier_of, waiting
from firetree.planning.candidates import GLOO, Choice
from firetree.planning.compressions import UNCOMPRESSED, Compression
from firetree.planning.ladder import Ladder
from firetree.planning.plan import Plan
from firetree.sync.algorithms import FixedAlgorithm
from firetree.sync.backend_sums import BackendSums
from firetree.sync.choosing import Chooser
from firetree.sync.clocks import Clock, GpuClock, HostClock
from firetree.sync.compression import compressor
from firetree.sync.compressor import LayerWise
from firetree.sync.record import CommHook, Record, size_of
from firetree.torch_private import sparse_parts
from firetree.wires.own_connections import SentBytes

Chosen = FixedAlgorithm | Plan | Ladder
"""What sums a buffer, by its size."""

_NO_BUCKET = -1
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A buffer (one axis) that waits for its turn, and who waits for its mean.

    `bucket` is DDP's, if it is one; `ready` is the clock's mark of when it was handed over.
    """

    index: int
    buffer: Tensor
    ready: Any
    promise: Future[Tensor]
    bucket: GradBucket | None
    trains: bool | None


class Synchroniser:
    """Averages buckets over the ranks of a group, one after another, beside the backward pass.

    It does so in a thread of its own, or on a stream of its own where the buckets lie on a GPU.

    A sum that fails leaves its buffer undefined and its reason in `error`, and all later sums fail at
    once: whoever waits for a buffer calls `raise_failure` before using it.

    Args:
        chosen: what sums a bucket, by its size; or a chooser, which may change that between two passes.
        group: used and ended by this synchroniser alone; its timeout is `timeout_s`.
        timeout_s: how long to wait for another rank, in seconds.
        compression: what each bucket is sent as.
        device: where the buckets lie.
        roll: the group's, where no roll of all ranks is open; it ends with the synchroniser.
    """

    def __init__(
        self,
        chosen: Chosen | Chooser,
        group: dist.ProcessGroup,
        timeout_s: float,
        compression: Compression = UNCOMPRESSED,
        device: torch.device = CPU,
        roll: RollCall | None = None,
    ):
        self.chooser = chosen if isinstance(chosen, Chooser) else None
        """What watches the network, where something does."""
        self.chosen: Chosen = chosen.chosen if isinstance(chosen, Chooser) else chosen
        self._compression = compression
        self._compressor = compressor(compression, group, device)
        self.error: Exception | None = None
        self._timeout_s = timeout_s
        self._executors: dict[Choice, Executor] = {}
        self._kernel = SentBytes()
        self._group, self._roll = group, roll
        self._over = carrier_of(group)
        self._backend = BackendSums(group, timeout_s)
        if GLOO in self.chosen.algorithms:
            self._backend.connect()
        self._passes = 0
        self._device = device
        self._world_size: int = group.size()
        self._divisor = self._world_size
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._clock: Clock = GpuClock() if on_gpu else HostClock()
        self.record = Record(self._clock, self._over)
        """What was summed, and what went over the wires, since someone last took it."""
        self.given: CommHook | None = None
        self._given_name = ""
        self._carried: Carried = (), ()
        self._first_pass = True
        self._finite: list[Tensor] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        thread = threading.Thread(
            target=_serve, args=(self._work,), name="firetree-sync", daemon=True
        )
        thread.start()
        # Also at exit: the interpreter must not go before the thread.
        weakref.finalize(self, _end, self._work, thread, self._backend, roll, os.getpid())

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of a model has no hook; where a script keeps this beside it, the copy keeps None."""
        return type(None), ()

    @property
    def algorithm(self) -> str:
        """The algorithm in use; with a plan, that of the largest bucket."""
        return self._given_name or self.chosen.algorithm

    def follow(self, plan: Plan) -> None:
        """Follow another plan from the next step on; call it on all ranks between the same steps."""
        self.chosen = plan

    def give_way(self, hook: CommHook, name: str) -> None:
        """Let a hook of the script's sum buckets from now on; this only measures it."""
        self.given, self._given_name = hook, name

    def take(self, bucket: GradBucket, trains: bool | None = None) -> Future[Tensor]:
        """Promise the mean of one of DDP's buckets, once those before it are done.

        Args:
            bucket: all ranks give theirs in the same order, in each pass from 0 on.
            trains: whether this rank does, where the mean is over the ranks that do; else None.
        """
        future = self.submit(bucket.buffer(), bucket.index(), bucket, trains)
        if self._first_pass and bucket.is_last():
            # DDP cuts its buckets anew after the first pass: errors kept back belong to other buckets.
            self._first_pass = False
            self._in_turn(self._compressor.forget)
        return future

    def raise_failure(self) -> None:
        """Raise the error of the sum that failed, if any: a CollectiveError where a rank is lost."""
        if self.error is not None:
            raise self.error

    def average(self, buffer: Tensor) -> None:
        """Average a buffer (one axis) in place over all ranks, which call it together, and wait."""
        self.submit(buffer, _NO_BUCKET).wait()
        self.raise_failure()

    def unsent(self) -> Tensor | float:
        """What compression has kept of the buffers that `average` was given; 0 where that is nothing."""
        return self._compressor.memories()["error"].get(_NO_BUCKET, 0.0)

    def submit(
        self,
        buffer: Tensor,
        index: int,
        bucket: GradBucket | None = None,
        trains: bool | None = None,
    ) -> Future[Tensor]:
        """Promise a buffer (one axis) averaged in place, once those before it are done.

        What compression keeps back has its `index`, which is below 0 where it is no bucket of DDP's.
        `bucket` and `trains` are those of `take`, if it is a bucket of DDP's.
        """
        ready = self._clock.mark()
        promise: Future[Tensor] = Future(devices=[buffer.device] if self._stream else None)
        pending = _Pending(index, buffer, ready, promise, bucket, trains)
        if self._stream is None:
            self._in_turn(partial(self._fulfil, pending))
        else:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(ready)
                self._fulfil(pending)
        return promise

    def _average(self, pending: _Pending) -> Tensor:
        """The mean over the ranks; it speaks with them, so all ranks have the same order."""
        index, buffer, bucket = pending.index, pending.buffer, pending.bucket
        if index == 0:
            trains = pending.trains
            self._divisor = self._world_size if trains is None else self._count(trains)
        if buffer.is_sparse:
            return self._sparse_mean(buffer)
        if bucket is not None and isinstance(self._compressor, LayerWise):
            return self._compressor.mean(bucket).mul_(self._world_size / self._divisor)
        numbers = torch.view_as_real(buffer).view(-1) if buffer.is_complex() else buffer
        self._compressor.average(index, numbers, self._sum, self._divisor)
        return buffer

    def _sparse_mean(self, buffer: Tensor) -> Tensor:
        """The mean as DDP computes it, to the bit."""
        buffer.div_(self._divisor)
        self._backend.all_reduce(buffer)
        return buffer

    def _count(self, trains: bool) -> int:
        """The number of ranks that train."""
        count = torch.tensor([float(trains)], device=self._device)
        dist.all_reduce(count, group=self._group)
        return int(count)

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do the work after all that was submitted before."""
        # A single rank has nothing to wait for, and switching threads is slow.
        if self._world_size == 1 or self._stream is not None:
            work()
        else:
            self._work.put(work)

    @property
    def bytes_counted_by(self) -> str:
        """Who measures `sent_bytes`: our executor, or the kernel where the backend sums too."""
        return "kernel" if self._backend_sums else "executor"

    @property
    def _backend_sums(self) -> bool:
        if self._compression.sends_more_than_sums:
            return True
        return GLOO in self.chosen.algorithms

    def sent_bytes(self) -> int:
        """Bytes this rank has sent to all peers so far; take differences around what is measured.

        The kernel counts all TCP traffic of the process, so nothing else may be sent in between.
        """
        if self._backend_sums:
            return self._kernel.count()
        return sum(sum(executor.sent_bytes) for executor in self._executors.values())

    def formula_bytes(self, size_bytes: int) -> float | None:
        """The bytes that the busiest rank sends by the algorithm's closed form, if it has one."""
        by_one = isinstance(self.chosen, FixedAlgorithm) and self.chosen.algorithm != GLOO
        if not by_one or self._compression != UNCOMPRESSED:
            return None
        links = collectives.LinkGraph(latency_s=0.0, rate_bytes_s=1.0)
        chunks = self.chosen.choice_for(size_bytes).chunks
        cost = collectives.find(self.algorithm).cost(self._world_size, chunks, size_bytes, links)
        return cost.sent_bytes

    def state(self) -> dict[str, Tensor]:
        """What compression keeps from step to step, by name; all ranks call it together.

        Each rank goes on with the mean of all ranks' errors. The averages stay the same, and any
        number of ranks can go on from this state.
        """
        for name, error in self.kept_back().items():
            try:
                dist.all_reduce(error, group=self._group)
            except RuntimeError as failure:
                raise self._explain(failure, f"the mean of compression's {name}") from failure
            error.div_(self._world_size)
        kept = self._compressor.memories()
        return {f"{name}.{i}": it for name, memory in kept.items() for i, it in memory.items()}

    def kept_back(self) -> dict[str, Tensor]:
        """The errors that this rank adds to its next buckets, by the names in `state`."""
        self._forget_if_spoiled()
        errors = self._compressor.memories()["error"]
        return {f"error.{index}": error for index, error in sorted(errors.items())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave, perhaps on another number of ranks."""
        kept = self._compressor.memories()
        for key, tensor in state.items():
            name, _, index = key.partition(".")
            if name in kept:  # else another compression's
                kept[name][int(index)] = tensor.to(self._device, copy=True)

    def forget_spoiled(self) -> None:
        """Drop all errors, on all ranks, after a step whose gradients were too large.

        After NaN or infinite gradients this happens by itself.
        """
        self._compressor.forget()

    def _forget_if_spoiled(self) -> None:
        """Drop the errors of a pass that had a NaN or infinite mean, which all ranks see."""
        finite, self._finite = self._finite, []
        if not all(finite):
            self.forget_spoiled()

    def _forget_if_cut_anew(self, index: int, length: int) -> None:
        """Drop a bucket's error where its length changed, as in a run resumed with other buckets."""
        kept = self._compressor.memories()
        if index in kept["error"] and kept["error"][index].numel() != length:
            for memory in kept.values():
                memory.pop(index, None)

    def _sum(self, buffer: Tensor) -> None:
        choice = self.chosen.choice_for(buffer.nbytes)
        if choice.algorithm == GLOO:
            self._backend.all_reduce(buffer)
            return
        if choice not in self._executors:
            schedule = choice.schedule(self._world_size)
            self._executors[choice] = Executor(schedule, self._over)
        self._carried = self._executors[choice].run(buffer)

    def _fulfil(self, pending: _Pending) -> None:
        """Average a buffer and keep the promise; a failure stands in `error` then."""
        index, buffer = pending.index, pending.buffer
        self._carried = (), ()
        try:
            self.raise_failure()
            if index <= 0:
                self._begin_pass()
            start = self._clock.mark()
            self._forget_if_cut_anew(index, buffer.numel())
            with waiting():
                averaged = self._average(pending)
            if self._compression.keeps_errors:
                numbers = sparse_parts(averaged)[1] if averaged.is_sparse else averaged
                self._finite.append(torch.isfinite(numbers).all())
        except Exception as error:
            self.error = self._explain(error, f"bucket {index}")
            pending.promise.set_result(buffer)
            return
        marks = pending.ready, start, self._clock.mark()
        if self.chooser is not None and not buffer.is_sparse:
            self.chooser.add((buffer.nbytes, start, marks[-1]))
        self.record.add(max(index, _NO_BUCKET), size_of(buffer), marks, self._carried)
        pending.promise.set_result(averaged)

    def _begin_pass(self) -> None:
        self._forget_if_spoiled()
        self._passes += 1
        if self._roll is not None:
            self._roll.place = f"step {self._passes}"
        if self.chooser is not None:
            self.chosen = self.chooser.before_pass()

    def _explain(self, error: Exception, what: str) -> Exception:
        """The error that the script gets: it names the lost rank, where the ranks can find out."""
        lost = self._loss(error, what)
        if lost is None or error is self.error:
            return error
        failure = lost if self._roll is None else self._roll.explain(lost, what)
        if failure is not error:
            failure.__cause__ = error
        return failure

    def _loss(self, error: Exception, what: str) -> CollectiveError | None:
        """The error as the loss of another rank, if it is one; a backend's error names no rank."""
        if isinstance(error, CollectiveError):
            return error
        if not isinstance(error, RuntimeError):
            return None
        rank = dist.get_process_group_ranks(self._group)[self._group.rank()]
        reason, where = backend_error(error), f"rank {rank} was at {what}"
        within_s = self._timeout_s if "imed out" in reason else None
        if within_s is not None:
            reason = f"another rank did not answer within {within_s:g} s"
        elif reason.startswith("Connection"):
            reason = "another rank went away"
        return CollectiveError(f"{reason} ({where})", None, where, within_s)


def _serve(work: SimpleQueue[Callable[[], None] | None]) -> None:
    for do in iter(work.get, None):
        do()
        del do  # a reference to the synchroniser, whose end ends this thread


def _end(
    work: SimpleQueue[Callable[[], None] | None],
    thread: threading.Thread,
    backend: BackendSums,
    roll: RollCall | None,
    process: int,
) -> None:
    """End a synchroniser's thread and group; a thread that waits for a lost peer is left behind."""
    if os.getpid() != process:
        return  # a fork has neither thread nor group
    work.put(None)
    if thread is not threading.current_thread():
        thread.join(timeout=1.0)
    if roll is not None:
        roll.close()
    backend.close()
