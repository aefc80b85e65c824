"""Which numbers of a chunk are sent, in few bits, and bits as bytes.

The Elias–Fano code (Elias 1974) has a length that is known beforehand, so all ranks' messages are as long.
Of each index it has the low bits as they are. The high ones are steps: a 0 for each that is left out below
it, and a 1. Shapes: C chunks of N numbers, of which K are chosen; B bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firetree.planning.compressions import low_bits


def encode_indices(at_CK: Tensor, numbers: int) -> Tensor:
    """The code of each chunk's ascending indices, whole numbers below `numbers`: (C, B), 0 or 1."""
    chosen = at_CK.shape[1]
    low = low_bits(numbers, chosen)
    steps = at_CK.new_zeros(len(at_CK), _steps(numbers, chosen))
    steps.scatter_(1, (at_CK >> low) + torch.arange(chosen, device=at_CK.device), 1)
    return torch.cat([steps, to_bits(at_CK, low)], 1)


def decode_indices(bits_CB: Tensor, numbers: int, chosen: int) -> Tensor:
    """The indices, (C, K), from the code of so many below `numbers`; what follows the code is ignored."""
    low, steps = low_bits(numbers, chosen), _steps(numbers, chosen)
    high = bits_CB[:, :steps].nonzero()[:, 1].view(-1, chosen)
    high = high - torch.arange(chosen, device=high.device)
    return (high << low) + from_bits(bits_CB[:, steps : steps + chosen * low], chosen)


def to_bits(values_CK: Tensor, width: int) -> Tensor:
    """So many low bits of each value, the lowest first: (C, B), 0 or 1."""
    places = torch.arange(width, device=values_CK.device)
    return ((values_CK[..., None] >> places) & 1).flatten(1)


def from_bits(bits_CB: Tensor, values: int) -> Tensor:
    """The values, (C, `values`), whose bits these are."""
    bits = bits_CB.reshape(len(bits_CB), values, bits_CB.shape[1] // values)
    return (bits << torch.arange(bits.shape[2], device=bits.device)).sum(2)


def to_bytes(bits_CB: Tensor) -> Tensor:
    """The bits of each chunk in bytes, the last one filled with zeros."""
    count = -(-bits_CB.shape[1] // 8)
    filled = torch.nn.functional.pad(bits_CB, (0, 8 * count - bits_CB.shape[1]))
    return from_bits(filled, count).to(torch.uint8)


def from_bytes(bytes_C: Tensor) -> Tensor:
    """The bits of each chunk's bytes."""
    return to_bits(bytes_C.long(), 8)


def _steps(numbers: int, chosen: int) -> int:
    return chosen + ((numbers - 1) >> low_bits(numbers, chosen))
