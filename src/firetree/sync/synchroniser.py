"""Where a schedule meets DDP: gradients are summed bucket by bucket while the backward pass goes on.

`collectives` knows nothing of training and `train` nothing of buckets; this module joins them. DDP
reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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

NATIVE = "native"
"""The backend's own all-reduce (Gloo's or NCCL's), beside our algorithms."""


@dataclass(frozen=True, slots=True)
class BucketTiming:
    """When one bucket was ready to be summed, and when its sum began and ended.

    Times are seconds of `time.monotonic`; the bucket is ready when its last gradient is computed.
    """

    index: int
    size_bytes: int
    ready_s: float
    start_s: float
    end_s: float


def algorithm_names() -> tuple[str, ...]:
    """Every name that `attach` takes."""
    return (*collectives.names(), NATIVE)


def check_algorithm(name: str) -> None:
    """Raise UserError with the nearest right name where `name` is not one of `algorithm_names()`."""
    if name not in algorithm_names():
        raise UserError(f"no algorithm '{name}'{nearest(name, algorithm_names())}")


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
        algorithm: one of `firetree.collectives.names()`, or "native" for the backend's all-reduce.
        chunks: parts that each bucket is cut into; by default the algorithm's usual number.
        timeout_s: how long to wait for another rank, in seconds.

    Raises:
        UserError: an unknown algorithm.
    """
    check_algorithm(algorithm)
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
        self.executor: Executor | None = None
        if algorithm != NATIVE:
            schedule = collectives.build(algorithm, group.size(), chunks)
            self.executor = Executor(schedule, group, timeout_s)
        self._sum: Callable[[Tensor], object] = (
            self.executor.run
            if self.executor
            else lambda buffer: dist.all_reduce(buffer, group=group)
        )
        self._world_size: int = group.size()
        self._timings: list[BucketTiming] = []
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._serve, name="firetree-sync", daemon=True).start()

    def hook(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """DDP's communication hook: takes a bucket of gradients, promises their mean."""
        ready_s = time.monotonic()
        buffer, index = bucket.buffer(), bucket.index()
        future: Future[Tensor] = torch.futures.Future()
        self._work.put(lambda: self._average(buffer, index, ready_s, future))
        return future

    def take_timings(self) -> list[BucketTiming]:
        """The timings of all buckets since the last call; call it after the backward pass."""
        timings, self._timings = self._timings, []
        return timings

    def _serve(self) -> None:
        while True:
            self._work.get()()

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
        self._timings.append(BucketTiming(index, buffer.nbytes, ready_s, start_s, time.monotonic()))
        future.set_result(buffer)
