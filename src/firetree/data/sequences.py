"""Sequences of symbols with what to answer, held in memory, and the batches of one rank.

Letters in names: N all sequences, B sequences of a batch, T symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from firetree.data.batches import NO_ANSWER, Batch
from firetree.data.order import Indices, batches_in_order, epoch_order, epoch_steps, share


class Examples(Protocol):
    """Sequences and their answers, of which some can be taken by their numbers."""

    def __len__(self) -> int: ...

    def take(self, indices_B: Indices) -> tuple[npt.NDArray[Any], Indices]:
        """What a network gets and what it is to give, the sequences along the first axis."""

    def answers(self, indices_B: Indices) -> int:
        """How many answers these sequences ask for."""

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        """indices_B of each step over all ranks, which together are `order_N` in some order."""


class ExampleSplits(Protocol):
    """What to train on and what to test on."""

    @property
    def train(self) -> Examples: ...

    @property
    def test(self) -> Examples: ...


@dataclass(frozen=True, slots=True)
class Sequences:
    """x_NT, symbols from 0; y_N, the answer after the last of them, or y_NT, one at each."""

    x_NT: Indices
    y: Indices

    def __len__(self) -> int:
        return len(self.x_NT)

    def take(self, indices_B: Indices) -> tuple[Indices, Indices]:
        return self.x_NT[indices_B], self.y[indices_B]

    def answers(self, indices_B: Indices) -> int:
        return int((self.y[indices_B] != NO_ANSWER).sum())

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        return batches_in_order(order_N, batch_size)


@dataclass(frozen=True, slots=True)
class SequenceSplits:
    """What to train on and what to test on: indices into `symbols` go in, into `classes` come out."""

    train: Sequences
    test: Sequences
    symbols: tuple[str, ...]
    classes: tuple[str, ...]


class SequenceLoader:
    """One rank's batches; which sequences a step has depends on seed and epoch only.

    `training` gives the sequences of each epoch, as many in all of them.
    """

    def __init__(
        self,
        training: Callable[[int], Examples],
        test: Examples,
        *,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ):
        self.damaged: dict[str, str] = {}
        self._training = training
        self._test = test
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

    def batches(self, step: int) -> Generator[Batch]:
        """The training batches from `step` on, epoch after epoch without end."""
        epoch, first = divmod(step, epoch_steps(len(self._training(0)), self._batch_size))
        while True:
            yield from self.training_batches(epoch, first)
            epoch, first = epoch + 1, 0

    def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's steps from `first_step` on, shuffled."""
        train = self._training(epoch)
        return self._batches(train, epoch_order(len(train), self._seed, epoch), first_step)

    def test_batches(self) -> Iterator[Batch]:
        """The test sequences in order, each step shared among the ranks."""
        return self._batches(self._test, np.arange(len(self._test)), 0)

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Sequences lie in memory, so none can be damaged."""

    def _batches(self, examples: Examples, order_N: Indices, first_step: int) -> Iterator[Batch]:
        for indices_B in examples.steps(order_N, self._batch_size)[first_step:]:
            x, y = examples.take(share(indices_B, self._rank, self._world_size))
            yield Batch(torch.from_numpy(x), torch.from_numpy(y), examples.answers(indices_B))
