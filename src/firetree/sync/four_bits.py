"""E3M0: floats of four bits, a sign and three bits of exponent, which ranks gather from each other.

Bytes are in `planning.compressions`. Shapes: C blocks of N numbers.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.planning.compressions import E3M0_BLOCK
from firetree.sync.chunked import gather
from firetree.sync.compressor import Compressor, Sum

_LEVELS = torch.tensor([0.0, *(2.0**exponent for exponent in range(-6, 1))])
"""Of a block's largest magnitude: what is sent for a magnitude."""


class E3M0(Compressor):
    """Sends each number in four bits, and sums in float32 (Douillard et al. 2025).

    Of a block's largest magnitude, a magnitude becomes the nearest of 0 and seven powers of two up to 1.
    What rounding loses is lost, as in the paper.
    """

    def __init__(self, group: dist.ProcessGroup):
        super().__init__()
        self._group = group

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Average what each rank's numbers are rounded to."""
        blocks = -(-buffer.numel() // E3M0_BLOCK)
        wanted_CN = torch.zeros(blocks, E3M0_BLOCK, dtype=torch.float32, device=buffer.device)
        wanted_CN.view(-1)[: buffer.numel()] = buffer
        summed_CN = torch.zeros_like(wanted_CN)
        for one in gather(_encode(wanted_CN), self._group):
            summed_CN += _decode(one.view(blocks, -1))
        buffer.copy_(summed_CN.view(-1)[: buffer.numel()].div_(ranks))


def _encode(wanted_CN: Tensor) -> Tensor:
    """Each block as bytes: two numbers a byte, then its largest magnitude."""
    largest_C1 = wanted_CN.abs().amax(1, keepdim=True)
    levels = _LEVELS.to(wanted_CN)
    between = (levels[1:] + levels[:-1]) / 2
    parts_CN = wanted_CN.abs() / largest_C1.where(largest_C1 != 0, 1.0)
    codes_CN = torch.bucketize(parts_CN, between, out_int32=True) + 8 * (wanted_CN < 0)
    bytes_CB = (codes_CN[:, ::2] + 16 * codes_CN[:, 1::2]).to(torch.uint8)
    return torch.cat([bytes_CB, largest_C1.view(torch.uint8)], 1)


def _decode(bytes_CB: Tensor) -> Tensor:
    """The numbers (C, N). A NaN or infinite number makes its whole block NaN, as 0 · inf is."""
    largest_C1 = bytes_CB[:, -4:].contiguous().view(torch.float32)
    pairs_CB = bytes_CB[:, :-4]
    codes_CN = torch.stack([pairs_CB & 15, pairs_CB >> 4], 2).flatten(1).int()
    levels = torch.cat([_LEVELS, -_LEVELS]).to(largest_C1)
    return levels[codes_CN] * largest_C1
