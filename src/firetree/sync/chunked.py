"""SparseLoCo and DeMo: of each chunk of a buffer, ranks gather the few largest numbers of each rank.

What is not sent stays for the next step, and decays. Chunks and bytes are in `planning.compressions`.
Shapes: C chunks of N numbers, of which K are sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import GradBucket

from firetree.planning.compressions import chunks_of, matrix_of, tile_of
from firetree.sync.compressor import Compressor, LayerWise, Sum


class SparseLoCo(Compressor):
    """Top-k of each chunk in two bits a number (Sarfi et al. 2025, algorithm 1).

    With the rank's pseudo-gradient Δ, the error e, its decay β and R ranks: e ← β·e + Δ;
    Δ̂ = Q(top-k(e)); e ← e − Δ̂; all ranks take the mean of Δ̂. Q keeps the sign, and replaces a magnitude
    by the mean of those above, or of those up to, the chunk's mean. The index of a number and its two
    bits go into 16 bits.

    Args:
        share: of a chunk's numbers, to send.
        decay: β.
        group: the ranks.
    """

    def __init__(self, share: float, decay: float, group: dist.ProcessGroup):
        super().__init__()
        self._share, self._decay, self._group = share, decay, group

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Average what each rank sends of its chunks."""
        numbers = buffer.numel()
        count, length, sent = chunks_of(numbers, self._share)
        wanted_CN = torch.zeros(count, length, dtype=torch.float32, device=buffer.device)
        flat = wanted_CN.view(-1)[:numbers]
        flat.copy_(buffer)
        if index in self.errors:
            flat.add_(self.errors[index], alpha=self._decay)
        message = _in_two_bits(wanted_CN, sent)
        _add_two_bits(wanted_CN, message, -1)
        summed_CN = torch.zeros_like(wanted_CN)
        for one in _gather(message, self._group):
            _add_two_bits(summed_CN, one, 1)
        self.errors[index] = flat
        buffer.copy_(summed_CN.view(-1)[:numbers].div_(ranks))


class DeMo(LayerWise):
    """Decoupled momentum (Peng, Quesnelle, Kingma 2024, algorithm 1): each rank keeps one of its own.

    With the rank's gradient g, its momentum m and the decay β: m ← β·m + g; q = the largest components
    of the DCT of each chunk of m; m ← m − q; all ranks take the mean of q. The DCT keeps lengths, so
    momenta are kept as components. These are sent as bfloat16 beside indices of 16 bits; what rounding
    loses stays in m.

    Args:
        components: of a chunk, to send.
        decay: β.
        group: the ranks.
    """

    def __init__(self, components: int, decay: float, group: dist.ProcessGroup):
        super().__init__()
        self._components, self._decay, self._group = components, decay, group

    def mean(self, bucket: GradBucket) -> Tensor:
        """The mean of what each rank takes out of its momentum."""
        buffer, index, gradients = bucket.buffer(), bucket.index(), bucket.gradients()
        chunked = [_Chunked.of(gradient.shape) for gradient in gradients]
        if index not in self.errors:
            self.errors[index] = torch.zeros_like(buffer, dtype=torch.float32)
        momenta = _split(self.errors[index].mul_(self._decay), chunked)
        for momentum_CN, it, gradient in zip(momenta, chunked, gradients, strict=True):
            momentum_CN.add_(it.components(gradient.float()))
        sent = [min(self._components, it.height * it.width) for it in chunked]
        message = torch.cat([_take_largest(*it) for it in zip(momenta, sent, strict=True)])
        # In float64, so that unlike CPUs round to the same mean.
        means = _split(torch.zeros_like(buffer, dtype=torch.float64), chunked)
        lengths = [2 * len(it) * count for it, count in zip(momenta, sent, strict=True)]
        for one in _gather(message, self._group):
            for mean_CN, part in zip(means, torch.split(one, lengths), strict=True):
                _add_components(mean_CN, part)
        for mean_CN, it, gradient in zip(means, chunked, gradients, strict=True):
            mean_CN.div_(self._group.size())
            gradient.copy_(it.gradient(mean_CN).view(gradient.shape))
        return buffer


@dataclass(frozen=True, slots=True)
class _Chunked:
    """A parameter as a matrix in chunks of `height` × `width`; its chunks go row by row."""

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: Sequence[int]) -> Self:
        return cls(*matrix_of(shape), *tile_of(shape))

    def components(self, gradient: Tensor) -> Tensor:
        """The DCT of each chunk of a gradient, (C, N)."""
        chunks = gradient.reshape(self.rows // self.height, self.height, -1, self.width)
        bases = _cosines(self.height).to(gradient), _cosines(self.width).to(gradient)
        found = torch.einsum("rhcw,hi,wj->rcij", chunks, *bases)
        return found.reshape(-1, self.height * self.width)

    def gradient(self, components_CN: Tensor) -> Tensor:
        """The gradient (rows, columns) whose chunks have these components."""
        across = self.columns // self.width
        components = components_CN.view(-1, across, self.height, self.width)
        bases = _cosines(self.height).to(components), _cosines(self.width).to(components)
        return torch.einsum("rcij,hi,wj->rhcw", components, *bases).reshape(self.rows, -1)


@cache
def _cosines(length: int) -> Tensor:
    """The basis of the orthonormal DCT-II in float64, a component a column."""
    at, frequency = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(length)
    waves = torch.cos(math.pi / length * (at + 0.5) * frequency) * math.sqrt(2 / length)
    waves[:, 0] = math.sqrt(1 / length)
    return waves


def _split(flat: Tensor, chunked: Sequence[_Chunked]) -> list[Tensor]:
    """Each parameter's part of a bucket, (C, N)."""
    parts = torch.split(flat, [it.rows * it.columns for it in chunked])
    return [part.view(-1, it.height * it.width) for part, it in zip(parts, chunked, strict=True)]


def _take_largest(momentum_CN: Tensor, sent: int) -> Tensor:
    """Take the largest components of each chunk out of a momentum: their indices, then themselves."""
    at_CK = momentum_CN.abs().topk(sent, sorted=False).indices
    values_CK = momentum_CN.gather(1, at_CK).bfloat16()
    momentum_CN.scatter_add_(1, at_CK, -values_CK.float())
    return torch.cat([at_CK.to(torch.int16).view(-1), values_CK.view(torch.int16).view(-1)])


def _add_components(sum_CN: Tensor, message: Tensor) -> None:
    """Add what a rank has taken."""
    at, values = message.chunk(2)
    values_CK = values.view(torch.bfloat16).view(len(sum_CN), -1)
    sum_CN.scatter_add_(1, at.long().view_as(values_CK), values_CK.to(sum_CN))


def _in_two_bits(wanted_CN: Tensor, sent: int) -> Tensor:
    """The largest numbers of each chunk, 16 bits each, then two levels for each chunk as bfloat16."""
    at_CK = wanted_CN.abs().topk(sent, sorted=False).indices
    values_CK = wanted_CN.gather(1, at_CK)
    sizes_CK = values_CK.abs()
    is_large_CK = sizes_CK > sizes_CK.mean(1, keepdim=True)
    levels = [
        torch.where(chosen_CK, sizes_CK, 0).sum(1) / chosen_CK.sum(1).clamp(min=1)
        for chosen_CK in (~is_large_CK, is_large_CK)
    ]
    numbers = at_CK * 4 + (values_CK < 0) * 2 + is_large_CK
    levels_C2 = torch.stack(levels, 1).bfloat16()
    return torch.cat([numbers.to(torch.int16).view(-1), levels_C2.view(torch.int16).view(-1)])


def _add_two_bits(sum_CN: Tensor, message: Tensor, factor: int) -> None:
    """Add what a rank sends, times a factor."""
    chunks = len(sum_CN)
    numbers, levels = torch.split(message, [len(message) - 2 * chunks, 2 * chunks])
    numbers_CK = numbers.long().view(chunks, -1)
    levels_C2 = levels.view(torch.bfloat16).view(chunks, 2).to(sum_CN)
    values_CK = levels_C2.gather(1, numbers_CK & 1) * (1 - (numbers_CK & 2))
    sum_CN.scatter_add_(1, numbers_CK >> 2, factor * values_CK)


def _gather(message: Tensor, group: dist.ProcessGroup) -> list[Tensor]:
    """The 16-bit numbers of all ranks, which have as many; as bytes, for Gloo sends no such numbers."""
    sent = message.view(torch.uint8)
    gathered = [torch.empty_like(sent) for _ in range(group.size())]
    dist.all_gather(gathered, sent, group=group)
    return [one.view(torch.int16) for one in gathered]
