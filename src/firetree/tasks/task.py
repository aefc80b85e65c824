"""What the trainer asks of a task; it knows nothing else about images or sequences."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from firetree.data import Account
from firetree.data.shares import Shares
from firetree.models.inputs import Inputs


class TaskBatch(Protocol):
    """One rank's part of a step."""

    @property
    def x(self) -> Inputs:
        """What the network takes, the samples along the first axis."""

    @property
    def y(self) -> Any:
        """What it is to give."""

    @property
    def count(self) -> int:
        """What the loss is a mean over: images, or answers."""

    @property
    def global_count(self) -> int:
        """The same over all ranks."""

    def to(self, device: torch.device) -> TaskBatch:
        """The same on a device."""

    def parts(self, number: int) -> Sequence[TaskBatch]:
        """The batch cut into at most so many parts, some perhaps empty."""


class TaskLoader(Protocol):
    """One rank's batches, and why samples are left out of them, by their names."""

    shares: Shares
    """How ranks share a batch; it may change between two steps, on all ranks alike."""

    @property
    def damaged(self) -> dict[str, str]: ...

    def batches(self, step: int) -> Generator[TaskBatch]:
        """The training batches from `step` on, epoch after epoch without end."""

    def test_batches(self) -> Iterator[TaskBatch]:
        """The test set, each step shared among the ranks."""

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Add damaged samples, met here or by another rank (RunFailedError where they are many)."""


class Task(Protocol):
    """Examples, and what is to be learned from them."""

    @property
    def examples(self) -> int:
        """Samples of an epoch."""

    @property
    def about(self) -> dict[str, Any]:
        """What someone who predicts with the weights must know of the data."""

    @property
    def account(self) -> Account:
        """What there is to train and to test on, and what was passed over."""

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        """The network that a recipe's fields describe; None keeps the named network's own.

        Raises:
            UserError: a name or field that no network for this task has.
        """

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> TaskLoader:
        """The batches of one rank; `channels_last` is the order in memory of images."""

    def example(self, count: int) -> Inputs:
        """So many samples of the right shape."""

    def loss(self, outputs: Any, y: Any, label_smoothing: float = 0.0) -> Tensor:
        """The sum of a batch's losses."""

    def right(self, outputs: Any, y: Any) -> Tensor | None:
        """How many of a batch's answers are right; None where they are not right or wrong."""

    def figures(self, loss: float) -> dict[str, float]:
        """What follows from the mean loss over the test set, by name, as in `perplexity`."""
