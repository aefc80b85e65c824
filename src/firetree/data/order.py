"""The order of images and their ranks, as pure functions of seed, epoch and step.

Letters in names: N all images, B images of a step.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class RandomStream(IntEnum):
    """Uses of random numbers; each use has its own stream, whatever the seed and the epoch."""

    HOLD_OUT = 1
    ORDER = 2
    AUGMENTATION = 3
    SEQUENCES = 4
    GAMES = 5
    OWN = 6
    CUTS = 7


def random_stream(stream: RandomStream, seed: int, epoch: int = 0) -> np.random.Generator:
    """The random numbers of one use in one epoch; seed and epoch are 0 or more."""
    return np.random.default_rng([stream, seed, epoch])


def hold_out(count: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Ascending indices of the images to train on and to test on, at least one of each.

    `count` is at least 2.
    """
    held_out = min(max(1, round(count * fraction)), count - 1)
    shuffled = random_stream(RandomStream.HOLD_OUT, seed).permutation(count)
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])


def epoch_order(count: int, seed: int, epoch: int) -> Indices:
    """order_N: every index below `count` once."""
    return random_stream(RandomStream.ORDER, seed, epoch).permutation(count)


def epoch_steps(count: int, batch_size: int) -> int:
    """Steps to see each of `count` images once; the last may be smaller."""
    return -(-count // batch_size)


def batch_indices(order_N: Indices, batch_size: int, step_in_epoch: int) -> Indices:
    """indices_B of a step over all ranks, the step counted from 0 within the epoch."""
    return order_N[step_in_epoch * batch_size : (step_in_epoch + 1) * batch_size]


def batches_in_order(order_N: Indices, batch_size: int) -> list[Indices]:
    """indices_B of each step of an epoch over all ranks."""
    steps = epoch_steps(len(order_N), batch_size)
    return [batch_indices(order_N, batch_size, step) for step in range(steps)]


def share(indices_B: Indices, rank: int, world_size: int) -> Indices:
    """A rank's contiguous part; parts differ by at most one, and some are empty if ranks exceed B."""
    count = len(indices_B)
    return indices_B[count * rank // world_size : count * (rank + 1) // world_size]
