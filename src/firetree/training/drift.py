"""Compares the ranks' weights by their checksums.

All ranks add the same gradients to the same weights. So they differ only after a fault, or where CPUs
round differently.
"""

from __future__ import annotations

import socket
import zlib
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from firetree.errors import RunFailedError
from firetree.peers import broadcast_tensors, gather_json

CHECK_STEPS = 100
"""Steps between two comparisons; there is one before each evaluation and checkpoint, too."""

_ROUNDING = 1e-4
"""Largest difference that counts as rounding, relative to the parameter's largest weight."""


@torch.no_grad()
def check_weights(model: nn.Module, step: int) -> str | None:
    """Compare the weights of all ranks, which call it together after `step` steps.

    Where they differ by rounding alone, all ranks take rank 0's weights, and the line returned says so.

    Raises:
        RunFailedError: on all ranks alike; it names the rank that differs from most, and the parameter.
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}
    sums = gather_json(_checksum(weights))
    if len(set(sums)) == 1:
        return None
    expected = broadcast_tensors(
        {name: value.cpu().contiguous() for name, value in weights.items()}
    )
    everyone = gather_json([socket.gethostname(), _first_different(weights, expected)])
    different = [name for _, name in everyone if name is not None]
    if not different:
        for name, value in weights.items():
            value.copy_(expected[name])
        return f"step {step}: the ranks' weights differed by rounding; all have rank 0's now"
    usual = Counter(sums).most_common(1)[0][0]
    rank = next(rank for rank, value in enumerate(sums) if value != usual)
    host, name = everyone[rank]
    raise RunFailedError(
        f"rank {rank} (host {host}) has other weights than most after step {step}, first in "
        f"{name or different[0]}; check its memory and CPU, and resume from an earlier checkpoint"
    )


def _checksum(weights: Mapping[str, Tensor]) -> int:
    checksum = 0
    for value in weights.values():
        content = value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        checksum = zlib.crc32(content, checksum)
    return checksum


def _first_different(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """The first parameter that differs by more than rounding."""
    for name, value in weights.items():
        theirs = expected[name]
        limit = _ROUNDING * float(theirs.abs().max()) if theirs.numel() else 0.0
        if not bool(((value.cpu() - theirs).abs() <= limit).all()):  # a NaN counts as different
            return name
    return None
