"""DDP's own way to sum gradients, or a hook that the script has chosen, left as it is and measured.

DDP reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import weakref

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree.observing import BucketMarks
from firetree.sync.clocks import GpuClock, HostClock
from firetree.sync.hook import trains
from firetree.sync.record import CommHook, Record, size_of
from firetree.torch_private import register_own_hook


class ObservedSums:
    """Sums of a DDP model's buckets by DDP's own all-reduce, bit by bit, with their times.

    Args:
        model: wraps any module, and has no hook yet.
    """

    bytes_counted_by = "formula"

    def __init__(self, model: DistributedDataParallel):
        group = model.process_group
        self.algorithm = _backend(group, model.device)
        self.marks: BucketMarks | None = None
        self._group, self._world_size = group, group.size()
        self.record = Record(GpuClock() if model.device.type == "cuda" else HostClock(), group)
        self._sum: CommHook = self._all_reduce
        self._divisor, self._sent_bytes = self._world_size, 0.0
        self._model = weakref.ref(model)  # which holds the hook
        register_own_hook(model, self.firetree)

    def firetree(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """Sum a bucket as DDP would. DDP logs this function's name."""
        summed = self.marks.hand_over(bucket) if self.marks else None
        # As many bytes as a ring sends, which is what Gloo's and NCCL's sums take.
        self._sent_bytes += 2 * (self._world_size - 1) / self._world_size * size_of(bucket.buffer())
        return self.record.measure(self._sum, bucket, summed)

    def give_way(self, hook: CommHook, name: str) -> None:
        """Let a hook of the script's sum from now on."""
        self._sum, self.algorithm = hook, name

    def _all_reduce(self, bucket: GradBucket) -> Future[list[Tensor]]:
        """DDP's own: divide by the number of ranks, and sum by the backend."""
        if bucket.index() == 0:
            self._divisor = self._count_ranks(bucket)
        buffer = bucket.buffer().div_(self._divisor)
        work = dist.all_reduce(buffer, group=self._group, async_op=True)
        summed: Future[list[Tensor]] = work.get_future()
        return summed

    def _count_ranks(self, bucket: GradBucket) -> int:
        """Over how many ranks the mean is."""
        model = self._model()
        mine = None if model is None else trains(model)
        if mine is None:
            return self._world_size
        count = torch.tensor([float(mine)], device=bucket.buffer().device)
        dist.all_reduce(count, group=self._group)
        return int(count)

    def sent_bytes(self) -> int:
        """Bytes of gradients sent to all peers so far, as a ring of the ranks sends them."""
        return int(self._sent_bytes)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of a model has no hook."""
        return type(None), ()


def _backend(group: dist.ProcessGroup, device: torch.device) -> str:
    """What sums on a device; a group may have one backend for each kind of device."""
    config = str(dist.get_backend_config(group))  # as cpu:gloo,cuda:nccl
    return dict(pair.split(":") for pair in config.split(","))[device.type]
