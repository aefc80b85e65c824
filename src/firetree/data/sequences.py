"""Sequences of symbols with their answers, in memory, and the batches of one rank.

Letters in names: N all sequences, B sequences of a batch, T symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from firetree.data.batches import NO_ANSWER, Batch
from firetree.data.order import Indices, batches_in_order, epoch_order, epoch_steps
from firetree.data.shares import Shares, share


class Examples(Protocol):
    """Sequences and their answers, taken by their indices."""

    def __len__(self) -> int: ...

    def take(self, indices_B: Indices) -> tuple[npt.NDArray[Any], Indices]:
        """Inputs and targets, with the sequences along the first axis."""

    def answers(self, indices_B: Indices) -> int:
        """How many answers these sequences ask for."""

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        """indices_B of each step over all ranks; together they hold each index of `order_N` once."""


class ExampleSplits(Protocol):
    """What to train on and what to test on."""

    @property
    def train(self) -> Examples: ...

    @property
    def test(self) -> Examples: ...


@dataclass(frozen=True, slots=True)
class Sequences:
    """x_NT, symbols from 0, with y_N, the answer after the last symbol, or y_NT, one at each.

    Games have x_NG, the numbers that decide them, and y_N, their best rewards.
    """

    x_NT: npt.NDArray[Any]
    y: Indices

    def __len__(self) -> int:
        return len(self.x_NT)

    def take(self, indices_B: Indices) -> tuple[npt.NDArray[Any], Indices]:
        return self.x_NT[indices_B], self.y[indices_B]

    def answers(self, indices_B: Indices) -> int:
        return int((self.y[indices_B] != NO_ANSWER).sum())

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        return batches_in_order(order_N, batch_size)


@dataclass(frozen=True, slots=True)
class SequenceSplits:
    """What to train on and to test on; inputs index `symbols`, and answers index `classes`."""

    train: Sequences
    test: Sequences
    symbols: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class SequenceLoader:
    """One rank's batches; which sequences a step has depends on seed and epoch only."""

    training: Callable[[int], Examples] = field(kw_only=False)
    """The sequences of an epoch; every epoch has the same number."""
    test: Examples = field(kw_only=False)
    batch_size: int
    seed: int
    rank: int
    world_size: int
    damaged: dict[str, str] = field(default_factory=dict, init=False)
    """Stays empty, since sequences are in memory."""
    shares: Shares = field(init=False)
    """How ranks share a batch; it may change between two steps, on all ranks alike."""

    def __post_init__(self) -> None:
        self.shares = (1,) * self.world_size

    def batches(self, step: int) -> Generator[Batch]:
        """The training batches from `step` on, epoch after epoch without end."""
        epoch, first = divmod(step, epoch_steps(len(self.training(0)), self.batch_size))
        while True:
            yield from self.training_batches(epoch, first)
            epoch, first = epoch + 1, 0

    def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's steps from `first_step` on, shuffled."""
        train = self.training(epoch)
        return self._batches(train, epoch_order(len(train), self.seed, epoch), first_step)

    def test_batches(self) -> Iterator[Batch]:
        """The test sequences in order, each step shared among the ranks."""
        return self._batches(self.test, np.arange(len(self.test)), 0)

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Do nothing: no sequence can be damaged."""

    def _batches(self, examples: Examples, order_N: Indices, first_step: int) -> Iterator[Batch]:
        for indices_B in examples.steps(order_N, self.batch_size)[first_step:]:
            x, y = examples.take(share(indices_B, self.rank, self.shares))
            yield Batch(torch.from_numpy(x), torch.from_numpy(y), examples.answers(indices_B))
