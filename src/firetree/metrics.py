"""A run's metrics.jsonl, with a line for each evaluation.

`train` writes it; `report`, sweeps and comparisons read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firetree.documents import Count, Finite, from_document
from firetree.durable import read_json_lines


@dataclass(frozen=True, slots=True)
class Metrics:
    """An evaluation after `step` steps, at the end of epoch `epoch`, counted from 1.

    A loss may be NaN or infinite. `accuracy` is top-1 accuracy or the task's own measure.
    """

    step: Count
    epoch: Count
    lr: Finite
    train_loss: float
    test_loss: float
    accuracy: Finite
    samples_per_s: Finite


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
