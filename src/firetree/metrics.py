"""A run's metrics.jsonl, with a line for each evaluation.

`train` writes it; `report`, sweeps and comparisons read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from firetree.documents import Count, Finite, from_document
from firetree.durable import read_json_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a network is worth on the whole test set.

    The loss is a mean, and may be NaN or infinite. `accuracy` is top-1 accuracy (0 to 1) or the task's own
    measure, None where no answer is right or wrong. `figures` are what else was measured, by name, as in
    `perplexity`.
    """

    test_loss: float
    accuracy: Finite | None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """More is better: the accuracy, or the negative loss where there is none."""
        if self.accuracy is not None:
            return self.accuracy
        return -self.test_loss if math.isfinite(self.test_loss) else -math.inf

    @property
    def scored(self) -> str:
        """What `score` is of, as in `test accuracy 98.25%`."""
        return self.parts[0 if self.accuracy is None else 1]

    @property
    def results(self) -> dict[str, str]:
        """Each result by its name, as text."""
        own = {} if self.accuracy is None else {"test accuracy": f"{self.accuracy:.2%}"}
        others = {name.replace("_", " "): f"{it:.4g}" for name, it in self.figures.items()}
        return {"test loss": f"{self.test_loss:.3f}", **own, **others}

    @property
    def parts(self) -> tuple[str, ...]:
        """The results, as in `test loss 0.123`."""
        return tuple(f"{name} {value}" for name, value in self.results.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Evaluation):
    """An evaluation after `step` steps, at the end of epoch `epoch`, counted from 1."""

    step: Count
    epoch: Count
    lr: Finite
    train_loss: float
    samples_per_s: Finite


Found = TypeVar("Found", bound=Evaluation)


def metrics_file(run_dir: Path) -> Path:
    """The path of a run's metrics."""
    return run_dir / "metrics.jsonl"


def read_metrics(run_dir: Path) -> list[Metrics]:
    """All evaluations of a run so far; empty if there is no file.

    Raises:
        UserError: a line is not an evaluation.
    """
    path = metrics_file(run_dir)
    return [
        from_document(Metrics, line, f"{path}: line {number}")
        for number, line in enumerate(read_json_lines(path), 1)
    ]


def best_of(evaluations: Iterable[Found]) -> Found | None:
    """The first of those with the highest score; None where none has one."""
    scored = [it for it in evaluations if it.score > -math.inf]
    return max(scored, key=lambda it: it.score, default=None)
