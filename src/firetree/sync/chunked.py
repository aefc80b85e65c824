"""Top-k, SparseLoCo and DeMo: of each chunk of a buffer, ranks gather the few largest numbers of each rank;
or those whose turn it is.

What is not sent stays for the next step. Chunks and bytes are in `planning.compressions`.
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

from firetree.planning.compressions import chunks_of, index_bits, matrix_of, tile_of
from firetree.sync.compressor import Compressor, LayerWise, Sum
from firetree.sync.indices import (
    decode_indices,
    encode_indices,
    from_bits,
    from_bytes,
    to_bits,
    to_bytes,
)


class TopK(Compressor):
    """Sends the largest share of a bucket's values; it is one chunk."""

    def __init__(self, share: float, group: dist.ProcessGroup):
        super().__init__()
        self._share, self._group = share, group

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Average the largest values of each rank; the others count as zero and are kept."""
        wanted = buffer + self.errors[index] if index in self.errors else buffer.clone()
        sent = math.ceil(self._share * len(wanted))
        at_1K = _largest(wanted[None], sent)
        values = wanted[at_1K[0]]
        wanted[at_1K[0]] = 0.0
        self.errors[index] = wanted
        code = to_bytes(encode_indices(at_1K, len(wanted)))[0]
        buffer.zero_()
        for one in gather(torch.cat([values.view(torch.uint8), code]), self._group):
            its_values, its_code = torch.split(one, [values.nbytes, len(code)])
            its_at_1K = decode_indices(from_bytes(its_code[None]), len(wanted), sent)
            buffer.index_add_(0, its_at_1K[0], its_values.view(values.dtype))
        buffer.div_(ranks)


class SparseLoCo(Compressor):
    """Top-k of each chunk in two bits a number (Sarfi et al. 2025, algorithm 1).

    With the rank's pseudo-gradient Δ, the error e, its decay β and R ranks: e ← β·e + Δ;
    Δ̂ = Q(top-k(e)); e ← e − Δ̂; all ranks take the mean of Δ̂. Q keeps the sign, and replaces a magnitude
    by the mean of those above, or of those up to, the chunk's mean.

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
        _add_two_bits(wanted_CN, message, sent, -1)
        summed_CN = torch.zeros_like(wanted_CN)
        for one in gather(message, self._group):
            _add_two_bits(summed_CN, one, sent, 1)
        self.errors[index] = flat
        buffer.copy_(summed_CN.view(-1)[:numbers].div_(ranks))


class Turns(Compressor):
    """Sends each number of a chunk in its turn, in two bits, the same ones on all ranks.

    Nobody has to say which these are. With the rank's change Δ and the error e: e ← e + Δ; Δ̂ = Q(e) where
    it is the turn, else 0; e ← e − Δ̂; all ranks take the mean of Δ̂. Q is that of `SparseLoCo`. With
    steps ahead of the average this is an error reset by parts (CSER: Xie et al. 2020, arXiv 2007.13221).

    Args:
        turns: messages in which all numbers of a chunk have been sent.
        group: the ranks.
    """

    def __init__(self, turns: int, group: dist.ProcessGroup):
        super().__init__()
        self._turns, self._group = turns, group
        self._done: dict[int, Tensor] = {}

    def memories(self) -> dict[str, dict[int, Tensor]]:
        """The errors, and how many messages were sent."""
        return {"error": self.errors, "turns": self._done}

    def average(self, index: int, buffer: Tensor, exact: Sum, ranks: int) -> None:
        """Average the numbers whose turn it is; the others count as zero and are kept."""
        numbers = buffer.numel()
        count, _, sent = chunks_of(numbers, 1 / self._turns)
        done = self._done.setdefault(index, torch.zeros((), dtype=torch.int64))
        wanted_CKT = torch.zeros(count, sent, self._turns, device=buffer.device)
        flat = wanted_CKT.view(-1)[:numbers]
        flat.copy_(buffer)
        if index in self.errors:
            flat.add_(self.errors[index])
        turn_CK = wanted_CKT[..., int(done) % self._turns]
        done += 1
        if not torch.isfinite(flat).all():
            flat.fill_(torch.nan)  # which all ranks are to see, whosever turn it is
        bits, levels = _two_bits(turn_CK)
        message = torch.cat([to_bytes(bits), levels], 1)
        turn_CK -= _of_two_bits(bits, levels, turn_CK)
        self.errors[index] = flat.clone()
        wanted_CKT.zero_()
        for one in gather(message, self._group):
            rows = one.view(count, -1)
            bits = from_bytes(rows[:, :-4])[:, : 2 * sent]
            turn_CK += _of_two_bits(bits, rows[:, -4:], turn_CK)
        buffer.copy_(flat.div_(ranks))


class DeMo(LayerWise):
    """Decoupled momentum (Peng, Quesnelle, Kingma 2024, algorithm 1): each rank keeps one of its own.

    With the rank's gradient g, its momentum m and the decay β: m ← β·m + g; q = the largest components
    of the DCT of each chunk of m; m ← m − q; all ranks take the mean of q. The DCT keeps lengths, so
    momenta are kept as components. These are sent as bfloat16; what rounding loses stays in m.

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
        buffer, index = bucket.buffer(), bucket.index()
        gradients = [it for it in bucket.gradients() if it.numel()]
        chunked = [_Chunked.of(gradient.shape) for gradient in gradients]
        if index not in self.errors:
            self.errors[index] = torch.zeros_like(buffer, dtype=torch.float32)
        momenta = _split(self.errors[index].mul_(self._decay), chunked)
        for momentum_CN, it, gradient in zip(momenta, chunked, gradients, strict=True):
            momentum_CN.add_(it.components(gradient.float()))
        sent = [min(self._components, it.height * it.width) for it in chunked]
        taken = [_take_largest(*it) for it in zip(momenta, sent, strict=True)]
        # In float64, so that unlike CPUs round to the same mean.
        means = _split(torch.zeros_like(buffer, dtype=torch.float64), chunked)
        for one in gather(torch.cat([it.view(-1) for it in taken]), self._group):
            parts = torch.split(one, [it.numel() for it in taken])
            for mean_CN, part, count in zip(means, parts, sent, strict=True):
                _add_components(mean_CN, part, count)
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
    """Take the largest components of each chunk out of a momentum, as bytes: which, then the values."""
    at_CK = _largest(momentum_CN, sent)
    values_CK = momentum_CN.gather(1, at_CK).bfloat16()
    momentum_CN.scatter_add_(1, at_CK, -values_CK.float())
    code = to_bytes(encode_indices(at_CK, momentum_CN.shape[1]))
    return torch.cat([code, values_CK.view(torch.uint8)], 1)


def _add_components(sum_CN: Tensor, message: Tensor, sent: int) -> None:
    """Add what a rank has taken."""
    rows = message.view(len(sum_CN), -1)
    values_CK = _floats(rows[:, -2 * sent :])
    at_CK = decode_indices(from_bytes(rows[:, : -2 * sent]), sum_CN.shape[1], sent)
    sum_CN.scatter_add_(1, at_CK, values_CK.to(sum_CN))


def _in_two_bits(wanted_CN: Tensor, sent: int) -> Tensor:
    """The largest numbers of each chunk, as bytes: which, two bits each, and two levels as bfloat16."""
    at_CK = _largest(wanted_CN, sent)
    code = encode_indices(at_CK, wanted_CN.shape[1])
    bits, levels = _two_bits(wanted_CN.gather(1, at_CK))
    return torch.cat([to_bytes(torch.cat([code, bits], 1)), levels], 1)


def _add_two_bits(sum_CN: Tensor, message: Tensor, sent: int, factor: int) -> None:
    """Add what a rank sends, times a factor."""
    rows, length = message.view(len(sum_CN), -1), sum_CN.shape[1]
    bits, code = from_bytes(rows[:, :-4]), index_bits(length, sent)
    values_CK = _of_two_bits(bits[:, code : code + 2 * sent], rows[:, -4:], sum_CN)
    sum_CN.scatter_add_(1, decode_indices(bits, length, sent), factor * values_CK)


def _two_bits(values_CK: Tensor) -> tuple[Tensor, Tensor]:
    """Bits of each number, (C, 2K): its sign, and which of the chunk's two levels; these as bytes, (C, 4)."""
    sizes_CK = values_CK.abs()
    is_large_CK = sizes_CK > sizes_CK.mean(1, keepdim=True)
    levels = [
        torch.where(chosen_CK, sizes_CK, 0).sum(1) / chosen_CK.sum(1).clamp(min=1)
        for chosen_CK in (~is_large_CK, is_large_CK)
    ]
    levels_C2 = torch.stack(levels, 1).bfloat16()
    return to_bits((values_CK < 0) * 2 + is_large_CK, 2), levels_C2.view(torch.uint8)


def _of_two_bits(bits: Tensor, levels: Tensor, like: Tensor) -> Tensor:
    """The numbers, (C, K)."""
    numbers_CK = from_bits(bits, bits.shape[1] // 2)
    return _floats(levels).to(like).gather(1, numbers_CK & 1) * (1 - (numbers_CK & 2))


def _largest(numbers_CN: Tensor, sent: int) -> Tensor:
    """The indices of the largest numbers of each chunk, ascending."""
    return numbers_CN.abs().topk(sent, sorted=False).indices.sort(1).values


def _floats(bytes_CB: Tensor) -> Tensor:
    """The bfloat16 numbers that these bytes are, wherever in a message they stand."""
    return bytes_CB.clone(memory_format=torch.contiguous_format).view(torch.bfloat16)


def gather(message: Tensor, group: dist.ProcessGroup) -> list[Tensor]:
    """The bytes of all ranks, which have as many."""
    gathered = [torch.empty_like(message) for _ in range(group.size())]
    dist.all_gather(gathered, message, group=group)
    return gathered
