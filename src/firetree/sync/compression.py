"""The arithmetic of compressions: a bucket becomes something smaller that can be summed.

The error of a step is added to the next step's gradients (error feedback: Seide et al. 2014;
Karimireddy et al. 2019); 16-bit floats lose too little to need it. What is gathered is in `chunked`, names
and sizes in `planning.compressions`.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import (
    PowerSGDState,
    powerSGD_hook,
)

from firetree.errors import UserError
from firetree.peers import WiredGroup
from firetree.planning.compressions import INT8_BLOCK, Compression
from firetree.sync.chunked import DeMo, SparseLoCo, TopK, Turns
from firetree.sync.compressor import Compressor, LayerWise, Sum
from firetree.sync.four_bits import E3M0


class Half(Compressor):
    """Rounds to 16-bit floats, and sums in them."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self._dtype = dtype

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Divide, round to 16 bits, and sum."""
        rounded = buffer.mul_(1 / ranks).to(self._dtype)
        exact(rounded)
        buffer.copy_(rounded)


class Int8(Compressor):
    """Rounds to 8-bit integers that add up without overflow along any schedule.

    All ranks scale a block alike: the largest magnitude in it on any of p ranks becomes ⌊127/p⌋, so the
    sum fits. More ranks have fewer levels each; the rounding error is kept.
    """

    def __init__(self, group: dist.ProcessGroup):
        super().__init__()
        self._group = group
        self._levels = 127 // group.size()
        if not self._levels:
            raise UserError(f"int8 on {group.size()} ranks; expected 127 at most")

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Average the buffer in steps of each block's scale."""
        blocks = -(-buffer.numel() // INT8_BLOCK)
        wanted = buffer.new_zeros(blocks, INT8_BLOCK)
        flat = wanted.view(-1)[: buffer.numel()]
        flat.copy_(buffer)
        if index in self.errors:
            flat.add_(self.errors[index])
        # A NaN makes the block's scale infinite; 0 · inf = NaN, so all ranks see the whole block as NaN.
        scales = wanted.abs().amax(1, keepdim=True).nan_to_num_(nan=math.inf, posinf=math.inf)
        dist.all_reduce(scales, dist.ReduceOp.MAX, group=self._group)
        steps = scales / self._levels
        numbers = (wanted / steps.where(steps != 0, 1.0)).round_()
        sent = numbers.nan_to_num().to(torch.int8)
        self.errors[index] = (wanted - sent * steps).view(-1)[: buffer.numel()]
        exact(sent.view(-1))
        buffer.copy_((sent * steps).view(-1)[: buffer.numel()]).div_(ranks)


class PowerSgd(LayerWise):
    """PyTorch's PowerSGD (Vogels et al. 2019) from the third step on, once DDP's buckets are final."""

    def __init__(self, rank: int, group: dist.ProcessGroup, device: torch.device):
        super().__init__()
        # Where there is a GPU, its hook synchronises the buckets' device, which fails for CPUs.
        if device.type == "cpu" and torch.cuda.is_available():
            raise UserError(
                "PyTorch's PowerSGD cannot train on the CPUs of a host that has a GPU; hide the GPU "
                "with CUDA_VISIBLE_DEVICES= in the environment, or choose another compression"
            )
        # A group over wires has no threads of its own.
        held = group if isinstance(group, WiredGroup) else cast(dist.ProcessGroup, _Weakly(group))
        self._state = PowerSGDState(held, matrix_approximation_rank=rank, start_powerSGD_iter=2)
        self._rank = rank

    def mean(self, bucket: GradBucket) -> Tensor:
        """The mean of a bucket over all ranks."""
        return powerSGD_hook(self._state, bucket).wait()

    def memories(self) -> dict[str, dict[int, Tensor]]:
        """The errors, and both factors."""
        return {
            "error": self._state.error_dict,
            f"p{self._rank}": self._state.p_memory_dict,
            f"q{self._rank}": self._state.q_memory_dict,
        }

    def forget(self) -> None:
        """Also draw the first step's random factors again."""
        super().forget()
        self._state.rng = np.random.RandomState(0)


class _Weakly:
    """A weak reference to a group, for PowerSGD's callbacks.

    They run in the group's own threads, which cannot end the group, so they must not be the last to
    hold it.
    """

    def __init__(self, group: dist.ProcessGroup):
        self._group = weakref.ref(group)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group(), name)


def compressor(
    compression: Compression, group: dist.ProcessGroup, device: torch.device
) -> Compressor:
    """The compressor of a compression, for the ranks of a group, whose buckets lie on the device.

    Raises:
        UserError: int8 on more than 127 ranks, or PowerSGD on CPUs beside a GPU.
    """
    match compression.name:
        case "fp16":
            return Half(torch.float16)
        case "bf16":
            return Half(torch.bfloat16)
        case "int8":
            return Int8(group)
        case "e3m0":
            return E3M0(group)
        case "topk":
            return TopK(compression.number, group)
        case "powersgd":
            return PowerSgd(int(compression.number), group, device)
        case "sparseloco":
            return SparseLoCo(compression.number, compression.decay, group)
        case "turns":
            return Turns(int(compression.number), group)
        case "demo":
            return DeMo(int(compression.number), compression.decay, group)
    return Compressor()
