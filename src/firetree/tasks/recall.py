"""To answer from memory what a sequence has said: associative retrieval and its harder kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firetree.data import Account, SequenceSplits
from firetree.data.recall import PAPER_EXAMPLES, PAPER_PAIRS, multi_query, retrieval
from firetree.documents import Positive
from firetree.fields import Fixed
from firetree.models import recurrent
from firetree.tasks.answers import Answers

MADE: Mapping[str, Callable[[int, int, str, int], SequenceSplits]] = {
    "associative_retrieval": retrieval,
    "multi_query_recall": multi_query,
}


@dataclass(frozen=True, slots=True)
class RecallData:
    """Sequences that are made by seed."""

    name: Fixed[Literal["associative_retrieval", "multi_query_recall"]]
    pairs: Fixed[Positive] = PAPER_PAIRS
    """Pairs of key and value in a sequence to be recalled."""
    examples: Fixed[Positive] = PAPER_EXAMPLES
    """Sequences made to train on."""
    held_out: Fixed[Literal["test", "validation"]] = "test"
    """Which of the sequences that are not trained on are evaluated."""


@dataclass(frozen=True, slots=True)
class Recall(Answers):
    """Answers to symbols x_BT: one after the last, or one wherever y_BT asks for it."""

    splits: SequenceSplits

    @property
    def about(self) -> dict[str, Any]:
        return {"classes": list(self.splits.classes), "symbols": list(self.splits.symbols)}

    @property
    def account(self) -> Account:
        train, test = self.splits.train, self.splits.test
        return Account("sequences", len(train), len(test), "made by seed")

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        return recurrent.build(
            symbols=len(self.splits.symbols),
            classes=len(self.splits.classes),
            each_step=self.splits.train.y.ndim == 2,
            **{name: value for name, value in fields.items() if value is not None},
        )

    def example(self, count: int) -> Tensor:
        return torch.zeros(count, self.splits.train.x_NT.shape[1], dtype=torch.int64)


def load_recall(data: RecallData, seed: int) -> Recall:
    """The sequences of a recipe."""
    return Recall(MADE[data.name](data.pairs, data.examples, data.held_out, seed))
