"""PyTorch's PowerSGD on a group that ends with its synchroniser."""

from __future__ import annotations

import weakref
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState

from firetree.errors import UserError


def power_sgd(group: dist.ProcessGroup, rank: int, device: torch.device) -> PowerSGDState:
    """PyTorch's PowerSGD (Vogels et al. 2019) from the third step on, when DDP's buckets stay."""
    # Its hook waits for the buckets' device wherever there is a GPU, which fails for processors.
    if device.type == "cpu" and torch.cuda.is_available():
        raise UserError(
            "PyTorch's PowerSGD cannot train on the processors of a host that has a GPU; "
            "hide the GPU with CUDA_VISIBLE_DEVICES= in the environment, or choose another compression"
        )
    held = cast(dist.ProcessGroup, _Weakly(group))
    return PowerSGDState(held, matrix_approximation_rank=rank, start_powerSGD_iter=2)


class _Weakly:
    """A group for PowerSGD's callbacks: they run in threads of the group, where it cannot end, so they
    must not be the last to hold it."""

    def __init__(self, group: dist.ProcessGroup):
        self._group = weakref.ref(group)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group(), name)
