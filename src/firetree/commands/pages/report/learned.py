"""How a run learned, as HTML and as data for `learning.js`: its losses and accuracy by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from firetree.commands.pages.report.marks import text
from firetree.commands.pages.report.sections import to_do
from firetree.metrics import Metrics, best_of
from firetree.reporting import Learning

MOST_POINTS = 300

LINES = {"train": "training loss", "test": "test loss", "accuracy": "test accuracy"}


def verdict(told: Learning) -> str:
    """How it learned, and what to do."""
    return f'<p class="lead">{text(told.sentence)}</p>{to_do(told.advice, told.command)}'


def course(evaluated: Sequence[Metrics], told: Learning | None) -> dict[str, Any]:
    """The evaluations, evenly thinned where they are many, and which of them is the best."""
    best, last = best_of(evaluated), len(evaluated) - 1
    places = set(np.linspace(0, last, min(last + 1, MOST_POINTS)).astype(int).tolist())
    places |= {evaluated.index(best)} if best else set()
    shown = [evaluated[place] for place in sorted(places)]
    since = told.since_epoch if told and told.kind == "over_fitted" else None
    return {
        "epoch": [it.epoch for it in shown],
        "step": [it.step for it in shown],
        "train": [_finite(it.train_loss) for it in shown],
        "test": [_finite(it.test_loss) for it in shown],
        "accuracy": [_finite(it.accuracy) for it in shown],
        "best": shown.index(best) if best else None,
        "since": since,
        "names": LINES,
    }


def _finite(value: float | None) -> float | None:
    """Four digits, as JSON has them; it has no NaN."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
