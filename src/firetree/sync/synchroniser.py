"""Where a schedule meets DDP: gradients are summed bucket by bucket while the backward pass goes on.

`collectives` knows nothing of training and `train` nothing of buckets; this module joins them. DDP
reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import atexit
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree import collectives
from firetree.collectives import Executor
from firetree.errors import UserError, nearest
from firetree.sync.wire import tcp_sent_bytes
from firetree.trace import BucketSpan

GLOO = "gloo"
"""The backend's own all-reduce, beside our algorithms."""


def algorithm_names() -> tuple[str, ...]:
    """Every name that `attach` takes."""
    return (*collectives.names(), GLOO)


def check_algorithm(name: str) -> None:
    """Raise UserError, with the nearest right name, where `attach` does not take `name`."""
    if name.partition(":")[0] not in algorithm_names():
        raise UserError(f"no algorithm '{name}'{nearest(name, algorithm_names())}")
    if name != GLOO:
        collectives.find(name)


def attach(
    model: DistributedDataParallel,
    algorithm: str = "binomial_tree",
    *,
    chunks: int | None = None,
    timeout_s: float = 60.0,
) -> "Synchroniser":
    """Let the gradients of a DDP model travel along our own schedule instead of DDP's all-reduce.

    Call it once on every rank, right after wrapping the model:

        model = DistributedDataParallel(net)
        firetree.attach(model, algorithm="binomial_tree")

    Args:
        model: wraps any module; its ranks are those of its process group.
        algorithm: one of `firetree.collectives.names()`, or "gloo" for the backend's own all-reduce.
        chunks: parts that each bucket is cut into; by default what suits the algorithm and its size.
        timeout_s: how long to wait for another rank, in seconds.

    Raises:
        UserError: an unknown algorithm, or a model that DDP does not wrap.
    """
    check_algorithm(algorithm)
    if not isinstance(model, DistributedDataParallel):
        kind = type(model).__name__
        raise UserError(f"the model is a {kind}; expected DistributedDataParallel({kind}(…))")
    ranks = dist.get_process_group_ranks(model.process_group)
    # A group of our own: its messages never meet those of DDP, nor of the user's script.
    group = cast(dist.ProcessGroup, dist.new_group(ranks, backend="gloo"))
    synchroniser = Synchroniser(algorithm, group, chunks, timeout_s)
    model.register_comm_hook(None, synchroniser.hook)
    return synchroniser


class Synchroniser:
    """Averages each bucket that DDP hands over, one after another, in a thread of its own."""

    def __init__(
        self, algorithm: str, group: dist.ProcessGroup, chunks: int | None, timeout_s: float
    ):
        self.algorithm = algorithm
        self.error: BaseException | None = None
        self._chunks, self._timeout_s = chunks, timeout_s
        self._executors: dict[int, Executor] = {}
        self._group = group
        self._world_size: int = group.size()
        self._spans: list[BucketSpan] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="firetree-sync", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the interpreter must not go before the thread

    def hook(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """DDP's communication hook: takes a bucket of gradients, promises their mean."""
        ready_s = time.monotonic()
        buffer, index = bucket.buffer(), bucket.index()
        future: Future[Tensor] = torch.futures.Future()
        self._work.put(lambda: self._average(buffer, index, ready_s, future))
        return future

    @property
    def bytes_counted_by(self) -> str:
        """Who measures `sent_bytes`: our executor, or the kernel for the backend's all-reduce."""
        return "kernel" if self.algorithm == GLOO else "executor"

    def sent_bytes(self) -> int:
        """Bytes this rank has sent to all peers so far; take differences around what is measured.

        The kernel counts all TCP traffic of the process, so nothing else may be sent in between.
        """
        if self.algorithm == GLOO:
            return tcp_sent_bytes()
        return sum(sum(executor.sent_bytes) for executor in self._executors.values())

    def formula_bytes(self, size_bytes: int) -> float | None:
        """The closed form of what the busiest rank sends for that many bytes of gradients."""
        if self.algorithm == GLOO:
            return None
        links = collectives.Links(latency_s=0.0, rate_bytes_s=1.0)
        chunks = self._chunks_for(size_bytes)
        cost = collectives.find(self.algorithm).cost(self._world_size, chunks, size_bytes, links)
        return cost.sent_bytes

    def take_spans(self) -> list[BucketSpan]:
        """The spans of all buckets since the last call; call it after the backward pass."""
        spans, self._spans = self._spans, []
        return spans

    def close(self) -> None:
        """End the thread; one that waits for a lost peer is left behind after a second."""
        self._work.put(None)
        self._thread.join(timeout=1.0)

    def _serve(self) -> None:
        while (average := self._work.get()) is not None:
            average()

    def _sum(self, buffer: Tensor) -> None:
        if self.algorithm == GLOO:
            dist.all_reduce(buffer, group=self._group)
        else:
            self._executor_for(buffer.nbytes).run(buffer)

    def _executor_for(self, size_bytes: int) -> Executor:
        chunks = self._chunks_for(size_bytes)
        if chunks not in self._executors:
            schedule = collectives.build(self.algorithm, self._world_size, chunks)
            self._executors[chunks] = Executor(schedule, self._group, self._timeout_s)
        return self._executors[chunks]

    def _chunks_for(self, size_bytes: int) -> int:
        return self._chunks or collectives.chunks_for(self.algorithm, self._world_size, size_bytes)

    def _average(self, buffer: Tensor, index: int, ready_s: float, future: Future[Tensor]) -> None:
        start_s = time.monotonic()
        try:
            if self.error is not None:
                raise self.error
            self._sum(buffer)
            buffer.div_(self._world_size)
        except Exception as error:
            self.error = error
            future.set_exception(error)  # type: ignore[arg-type]
            return
        self._spans.append(BucketSpan(index, buffer.nbytes, ready_s, start_s, time.monotonic()))
        future.set_result(buffer)
