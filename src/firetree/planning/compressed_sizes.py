"""What a compression leaves to send of a step's gradients, and what local steps leave of its sums.

The arithmetic of a compression is not counted: where bytes are what a step waits for, it is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from firetree.models.profile import Gradient, Profile
from firetree.planning.step import Step

INT8_BLOCK = 1024
"""Numbers of 8 bits that share a scale of 4 bytes."""


def compressed(profile: Profile, compression: str, world_size: int) -> Profile:
    """The same computation with the bytes that are sent in place of each gradient.

    `compression` is as in a recipe: `fp16`, `bf16`, `int8`, `topk:SHARE` or `powersgd:RANK`.
    """
    name, _, number = compression.partition(":")

    def sent(gradient: Gradient) -> Gradient:
        size_bytes = _sent_bytes(gradient, name, float(number or 0), world_size)
        return replace(gradient, size_bytes=max(4, round(size_bytes)))

    return replace(profile, gradients=tuple(map(sent, profile.gradients)))


def _sent_bytes(gradient: Gradient, name: str, number: float, world_size: int) -> float:
    size_bytes = gradient.size_bytes
    match name:
        case "fp16" | "bf16":
            return size_bytes / 2
        case "int8":
            return size_bytes / 4 + size_bytes / INT8_BLOCK
        case "topk":
            # A place beside each number doubles it; to gather takes half as long as to sum.
            return size_bytes * number * world_size
        case _:
            return _low_rank_bytes(gradient, number)


def _low_rank_bytes(gradient: Gradient, rank: float) -> float:
    """PyTorch's PowerSGD: two factors of a matrix, unless they have over half of its numbers."""
    if len(gradient.shape) < 2:
        return gradient.size_bytes
    rows, columns = gradient.shape[0], math.prod(gradient.shape[1:])
    factors = rank * (rows + columns)
    return 4 * factors if 2 * factors < rows * columns else gradient.size_bytes


def local_step(profile: Profile, local_steps: int, all_reduce_s: Callable[[int], float]) -> Step:
    """A step where the workers are averaged, all parameters in one go, after every `local_steps`."""
    exposed_s = all_reduce_s(profile.size_bytes) / local_steps
    return Step(profile.compute_s + exposed_s, exposed_s)
