"""Steps over time, as data for `curve.js`: few bins, whatever the run's length."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from firetree.output import printable
from firetree.reporting import Diagnosis
from firetree.reporting.rounds import StepTable, Times

MOST_BINS = 320

PARTS = {
    "data": "waiting for data",
    "compute": "computing",
    "others": "waiting for other ranks",
    "network": "waiting for the network",
    "rest": "evaluation, saving, other",
}
FEW_FIELDS = {
    "data": ("data_s",),
    "compute": ("forward_s", "backward_s", "optimizer_s"),
    "others": ("others_wait_s",),
    "network": ("network_wait_s",),
    "rest": ("evaluation_s", "saving_s", "other_s"),
}


def curve(found: Diagnosis, rounds: StepTable) -> dict[str, Any]:
    """Bins of steps: the fastest, the median and the slowest step, and where the median's time went.

    A step is as its slowest rank saw it. Its parts are means over the ranks, stretched to the same height.
    """
    slowest_s: Times = rounds.step_s.max(axis=1)
    count = len(slowest_s)
    edges = np.linspace(0, count, min(count, MOST_BINS) + 1).astype(int).tolist()
    bins = [slice(first, end) for first, end in pairwise(edges)]
    medians = np.array([it.start + _median(slowest_s[it]) for it in bins])
    shares = slowest_s / rounds.step_s.mean(axis=1)
    parts_s = {
        name: sum(rounds.parts[field].mean(axis=1) for field in fields) * shares
        for name, fields in FEW_FIELDS.items()
    }
    return {
        "first": [_first(rounds, it.start) for it in bins],
        "last": [rounds.steps[it.stop - 1][0].step for it in bins],
        "low": [_ms(slowest_s[it].min()) for it in bins],
        "mid": [_ms(value_s) for value_s in slowest_s[medians]],
        "high": [_ms(slowest_s[it].max()) for it in bins],
        "names": PARTS,
        "parts": {name: [_ms(value_s) for value_s in parts_s[name][medians]] for name in PARTS},
        "stretches": [
            [it.first_step, it.last_step, printable(it.algorithm), _ms(it.median_s)]
            for it in found.stretches
        ],
    }


def _first(rounds: StepTable, index: int) -> int:
    """The number of the first step that a round stands for."""
    step = rounds.steps[index][0]
    return max(0, step.step - step.count + 1)


def _median(values: Times) -> int:
    return int(np.argsort(values, kind="stable")[(len(values) - 1) // 2])


def _ms(duration_s: float) -> float:
    return float(f"{duration_s * 1e3:.4g}")
