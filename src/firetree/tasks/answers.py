"""What all tasks have alike that ask for answers to sequences: one a sequence, or one a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from firetree.data import SequenceLoader
from firetree.data.batches import NO_ANSWER
from firetree.data.sequences import ExampleSplits


@dataclass(frozen=True, slots=True)
class Answers:
    """Sequences, answers to them, and what these are worth."""

    splits: ExampleSplits

    @property
    def examples(self) -> int:
        return len(self.splits.train)

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> SequenceLoader:
        return SequenceLoader(
            lambda epoch: self.splits.train,
            self.splits.test,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def loss(self, outputs: Any, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of logits (B, K) or (B, T, K), in float32, summed over what y asks for."""
        return cross_entropy(
            outputs.flatten(0, -2).float(),
            y.flatten(),
            ignore_index=NO_ANSWER,
            reduction="sum",
            label_smoothing=label_smoothing,
        )

    def right(self, outputs: Tensor, y: Tensor) -> Tensor | None:
        """How many of the answers asked for have the highest logit."""
        return (outputs.argmax(-1) == y).sum()

    def figures(self, loss: float) -> dict[str, float]:
        return {}
