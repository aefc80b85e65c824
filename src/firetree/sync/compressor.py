"""What every compression does with a bucket, and what it keeps for the next step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.distributed import GradBucket

Sum = Callable[[Tensor], None]
"""Sums a buffer over all ranks, in place."""


class Compressor:
    """Averages buckets over ranks, here without compression; `errors` are kept by bucket index."""

    def __init__(self) -> None:
        self.errors: dict[int, Tensor] = {}

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Replace a bucket (one axis) by its sum over all ranks divided by `ranks`, the same on each."""
        # DDP divides first, too: the sum may overflow where the mean does not.
        exact(buffer.mul_(1 / ranks))

    def memories(self) -> dict[str, dict[int, Tensor]]:
        """The tensors kept for each bucket, by name; `error` is as long as the bucket."""
        return {"error": self.errors}

    def forget(self) -> None:
        """Drop all that was kept, as before the first step."""
        for memory in self.memories().values():
            memory.clear()


class LayerWise(Compressor):
    """Compresses each parameter's gradient by its shape.

    It takes DDP's buckets by `mean`; other buffers are averaged without compression.
    """

    def mean(self, bucket: GradBucket) -> Tensor:
        """The mean of a bucket over all ranks."""
        raise NotImplementedError
