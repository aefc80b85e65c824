"""The order of images, as pure functions of seed, epoch and step.

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


def hold_out(labels_N: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Ascending indices of the images to train on and to test on, drawn from each class alike.

    A class gives its exact share of all that are held out, rounded down or up. It is rounded up first
    where the class would have no test image, then by the largest remainder. Each class keeps an image to
    train on; where classes of one image leave no other way, fewer are held out. If every class has one
    image, some of these are. There are at least 2 images, and at least one comes out on either side.
    """
    count = len(labels_N)
    held_out = min(max(1, round(count * fraction)), count - 1)
    shuffled = random_stream(RandomStream.HOLD_OUT, seed).permutation(count)
    classes_N = labels_N[shuffled]
    if len(np.unique(classes_N)) == count:
        classes_N = np.zeros_like(classes_N)
    _, first_K, counts_K = np.unique(classes_N, return_index=True, return_counts=True)
    by_class = np.split(shuffled[np.argsort(classes_N, kind="stable")], np.cumsum(counts_K)[:-1])
    tests_K = _tests_of_classes(counts_K, first_K, held_out).tolist()
    parts = [np.split(rows, [tests]) for rows, tests in zip(by_class, tests_K, strict=True)]
    test, train = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return train, test


def _tests_of_classes(counts_K: Indices, ties_K: Indices, held_out: int) -> Indices:
    """How many images of each class are held out; among equal remainders, the lower of `ties_K` wins."""
    tests_K, remainders_K = np.divmod(counts_K * held_out, counts_K.sum())
    order_K = np.lexsort((ties_K, -remainders_K, tests_K > 0))
    may_grow_K = (remainders_K > 0) & (tests_K + 1 < counts_K)
    growing = order_K[may_grow_K[order_K]][: held_out - tests_K.sum()]
    tests_K[growing] += 1
    return tests_K


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


def step_size(count: int, batch_size: int, step: int) -> int:
    """Samples over all ranks of a step, counted from 0 over all epochs of `count` samples."""
    step_in_epoch = step % epoch_steps(count, batch_size)
    return min(batch_size, count - step_in_epoch * batch_size)
