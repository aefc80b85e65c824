"""Where a schedule meets DDP: gradients are summed bucket by bucket while the backward pass goes on.

`collectives` knows nothing of training and `train` nothing of buckets; this module joins them. DDP
reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import atexit
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree import collectives
from firetree.collectives import Executor
from firetree.errors import UserError, nearest
from firetree.network.choice import NATIVE, Choice
from firetree.network.plan import Plan
from firetree.sync.clocks import Clock, GpuClock, HostClock
from firetree.sync.compression import NONE, build_compression, check_compression
from firetree.sync.wire import tcp_sent_bytes
from firetree.trace import BucketSpan

_NO_BUCKET = -1

CPU = torch.device("cpu")

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


@dataclass(frozen=True, slots=True)
class Named:
    """One algorithm for all buckets, in `chunks` parts or as many as suit each."""

    algorithm: str
    world_size: int
    chunks: int | None = None

    def choice_for(self, size_bytes: int) -> Choice:
        """How a bucket is summed."""
        if self.algorithm == GLOO:
            return Choice(NATIVE, 1)
        chunks = self.chunks or collectives.chunks_for(self.algorithm, self.world_size, size_bytes)
        return Choice(self.algorithm, chunks, tuple(range(self.world_size)))


def attach(
    model: DistributedDataParallel,
    algorithm: str | Plan = "binomial_tree",
    *,
    compression: str = NONE,
    chunks: int | None = None,
    timeout_s: float = 60.0,
) -> "Synchroniser":
    """Let the gradients of a DDP model travel along our own schedule instead of DDP's all-reduce.

    Call it once on every rank, right after wrapping the model:

        model = DistributedDataParallel(net)
        firetree.attach(model, algorithm="binomial_tree")

    Args:
        model: wraps any module; its ranks are those of its process group.
        algorithm: one of `firetree.collectives.names()`, "gloo" for the backend's own all-reduce, or
            a `firetree.network.Plan`, for whose buckets the model is wrapped with
            `bucket_cap_mb=plan.bucket_bytes / 2**20`.
        compression: `none`, `fp16`, `bf16`, `int8`, `topk:SHARE` or `powersgd:RANK`; what it loses in a
            step is added to the next one's gradients. PowerSGD is PyTorch's own hook and sums by the
            backend, top-k gathers; the others are summed by the algorithm.
        chunks: parts that each bucket is cut into; by default what suits the algorithm and its size.
        timeout_s: how long to wait for another rank, in seconds.

    Raises:
        UserError: an unknown algorithm, a plan for another model or cluster, a model that DDP does
            not wrap, or PowerSGD on processors beside a GPU.
    """
    if not isinstance(algorithm, Plan):
        check_algorithm(algorithm)
    if not isinstance(model, DistributedDataParallel):
        kind = type(model).__name__
        raise UserError(f"the model is a {kind}; expected DistributedDataParallel({kind}(…))")
    ranks = dist.get_process_group_ranks(model.process_group)
    if isinstance(algorithm, Plan):
        algorithm.check(len(ranks), gradient_bytes(model))
    way = algorithm if isinstance(algorithm, Plan) else Named(algorithm, len(ranks), chunks)
    device = next(model.parameters()).device
    # A group of our own: its messages never meet those of DDP, nor of the user's script.
    backend = "nccl" if device.type == "cuda" else "gloo"
    group = cast(dist.ProcessGroup, dist.new_group(ranks, backend=backend))
    synchroniser = Synchroniser(way, group, timeout_s, compression, device)
    model.register_comm_hook(None, synchroniser.hook)
    return synchroniser


def _power_sgd(group: dist.ProcessGroup, rank: int, device: torch.device) -> PowerSGDState:
    """PyTorch's PowerSGD (Vogels et al. 2019) from the third step on, when DDP's buckets stay."""
    # Its hook waits for the buckets' device wherever there is a GPU, which fails for processors.
    if device.type == "cpu" and torch.cuda.is_available():
        raise UserError(
            "PyTorch's PowerSGD cannot train on the processors of a host that has a GPU; "
            "hide the GPU with CUDA_VISIBLE_DEVICES= in the environment, or choose another compression"
        )
    return PowerSGDState(group, matrix_approximation_rank=rank, start_powerSGD_iter=2)


def gradient_bytes(model: nn.Module) -> int:
    """|W|: bytes that are summed over the ranks in a step."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True, slots=True)
class _Marked:
    """A bucket, with the clock's marks of when it was ready, and its sum began and ended."""

    index: int
    size_bytes: int
    marks: tuple[Any, Any, Any]


class Synchroniser:
    """Averages each bucket that DDP hands over, one after another, beside the backward pass: in a thread
    of its own, or where the buckets lie on a GPU, on a stream of its own."""

    def __init__(
        self,
        way: Named | Plan,
        group: dist.ProcessGroup,
        timeout_s: float,
        compression: str = NONE,
        device: torch.device = CPU,
    ):
        self.way = way
        self._compressed_by, rank = check_compression(compression)
        self._compression = build_compression(compression, group)
        by_low_rank = self._compressed_by == "powersgd"
        self._low_rank = _power_sgd(group, int(rank), device) if by_low_rank else None
        self.error: BaseException | None = None
        self._timeout_s = timeout_s
        self._executors: dict[Choice, Executor] = {}
        self._group = group
        self._device = device
        self._world_size: int = group.size()
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._clock: Clock = GpuClock() if on_gpu else HostClock()
        self._marked: list[_Marked] = []
        self._first_pass = True
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="firetree-sync", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the interpreter must not go before the thread

    @property
    def algorithm(self) -> str:
        """What sums the buckets now; of a plan, what sums the largest."""
        return self.way.algorithm

    def follow(self, plan: Plan) -> None:
        """Sum along another plan from the next step on; call it on all ranks between the same steps."""
        self.way = plan

    def hook(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """DDP's communication hook: takes a bucket of gradients, promises their mean."""
        index, low_rank = bucket.index(), self._low_rank
        if low_rank is None:
            future = self.submit(bucket.buffer(), index)
        else:
            future = self._promise(
                bucket.buffer(), index, lambda: powerSGD_hook(low_rank, bucket).wait()
            )
        if self._first_pass and bucket.is_last():
            # DDP cuts its buckets anew after the first pass: what they kept back is for others.
            self._first_pass = False
            self._in_turn(self._compression.errors.clear)
        return future

    def average(self, buffer: Tensor) -> None:
        """Average a buffer (one axis) in place over all ranks, which call it together, and wait."""
        self.submit(buffer, _NO_BUCKET).wait()

    def submit(self, buffer: Tensor, index: int) -> Future[Tensor]:
        """Promise a buffer averaged in place, once those before it are done."""

        def mean() -> Tensor:
            self._compression.sum(index, buffer, self._sum)
            return buffer.div_(self._world_size)

        return self._promise(buffer, index, mean)

    def _promise(self, buffer: Tensor, index: int, mean: Callable[[], Tensor]) -> Future[Tensor]:
        """What `mean` gives, which speaks with other ranks in its turn: all have the same order."""
        ready = self._clock.mark()
        if self._stream is not None:
            future: Future[Tensor] = torch.futures.Future(devices=[buffer.device])
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(ready)
                self._keep(buffer, index, mean, ready, future)
            return future
        future = torch.futures.Future()
        self._in_turn(lambda: self._keep(buffer, index, mean, ready, future))
        return future

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do it after all that was submitted."""
        # Alone there is nothing to wait for, and threads take turns slowly.
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
        if self._compressed_by in ("int8", "topk", "powersgd"):
            return True
        if isinstance(self.way, Plan):
            return any(choice.algorithm == NATIVE for _, choice in self.way.choices)
        return self.way.algorithm == GLOO

    def sent_bytes(self) -> int:
        """Bytes this rank has sent to all peers so far; take differences around what is measured.

        The kernel counts all TCP traffic of the process, so nothing else may be sent in between.
        """
        if self._backend_sums:
            return tcp_sent_bytes()
        return sum(sum(executor.sent_bytes) for executor in self._executors.values())

    def formula_bytes(self, size_bytes: int) -> float | None:
        """The closed form of what the busiest rank sends for that many bytes of gradients."""
        if isinstance(self.way, Plan) or self.way.algorithm == GLOO or self._compressed_by != NONE:
            return None
        links = collectives.Links(latency_s=0.0, rate_bytes_s=1.0)
        chunks = self.way.choice_for(size_bytes).chunks
        cost = collectives.find(self.algorithm).cost(self._world_size, chunks, size_bytes, links)
        return cost.sent_bytes

    def state(self) -> dict[str, Tensor]:
        """What compression keeps from step to step, by name; all ranks call it together.

        Each goes on with the mean of what all have kept back: the next averages see no more of it, so
        that any number of ranks can go on from it.
        """
        kept = self._memories()
        for index, error in sorted(kept["error"].items()):
            dist.all_reduce(error, group=self._group)
            kept["error"][index] = error.div_(self._world_size)
        return {f"{name}.{i}": it for name, memory in kept.items() for i, it in memory.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on with what `state` gave, perhaps on another number of ranks."""
        kept = self._memories()
        for key, tensor in state.items():
            name, _, index = key.partition(".")
            if name in kept:  # else another compression's
                kept[name][int(index)] = tensor.to(self._device, copy=True)

    def forget_spoiled(self) -> None:
        """After a step whose gradients were no numbers or too large, on all ranks: keep nothing of it."""
        for memory in self._memories().values():
            memory.clear()
        if self._low_rank is not None:  # which draws numbers for what it has not kept
            self._low_rank.rng = np.random.RandomState(0)

    def _memories(self) -> dict[str, dict[int, Tensor]]:
        """What is kept for each bucket, by name; `error` is as long as the bucket."""
        if self._low_rank is None:
            return {"error": self._compression.errors}
        low_rank = self._low_rank
        rank = low_rank.matrix_approximation_rank
        return {
            "error": low_rank.error_dict,
            f"p{rank}": low_rank.p_memory_dict,
            f"q{rank}": low_rank.q_memory_dict,
        }

    def _forget_if_cut_anew(self, index: int, length: int) -> None:
        """Drop what a bucket kept when it was another one, as in a run resumed with other buckets."""
        kept = self._memories()
        if index in kept["error"] and kept["error"][index].numel() != length:
            for memory in kept.values():
                memory.pop(index, None)

    def take_spans(self) -> list[BucketSpan]:
        """The spans of all buckets since the last call; call it after the backward pass."""
        marked, self._marked = self._marked, []
        seconds = iter(self._clock.seconds([mark for one in marked for mark in one.marks]))
        return [
            BucketSpan(one.index, one.size_bytes, next(seconds), next(seconds), next(seconds))
            for one in marked
        ]

    def close(self) -> None:
        """End the thread; one that waits for a lost peer is left behind after a second."""
        self._work.put(None)
        self._thread.join(timeout=1.0)

    def _serve(self) -> None:
        while (average := self._work.get()) is not None:
            average()

    def _sum(self, buffer: Tensor) -> None:
        choice = self.way.choice_for(buffer.nbytes)
        if choice.algorithm == NATIVE:
            dist.all_reduce(buffer, group=self._group)
            return
        if choice not in self._executors:
            schedule = choice.schedule(self._world_size)
            self._executors[choice] = Executor(schedule, self._group, self._timeout_s)
        self._executors[choice].run(buffer)

    def _keep(
        self,
        buffer: Tensor,
        index: int,
        mean: Callable[[], Tensor],
        ready: Any,
        promise: Future[Tensor],
    ) -> None:
        start = self._clock.mark()
        try:
            if self.error is not None:
                raise self.error
            self._forget_if_cut_anew(index, buffer.numel())
            averaged = mean()
        except Exception as error:
            self.error = error
            promise.set_exception(error)  # type: ignore[arg-type]
            return
        marks = ready, start, self._clock.mark()
        self._marked.append(_Marked(index, buffer.nbytes, marks))
        promise.set_result(averaged)
