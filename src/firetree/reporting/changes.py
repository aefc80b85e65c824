"""Where the typical time of a step changes: exact optimal segmentation of its logarithm.

Single slow steps are no change: a running median takes them out first. What is left is cut where squared
deviations fall by more than a penalty (Jackson et al., "An algorithm for optimal partitioning of data on an
interval", 2005), and neighbours that hardly differ are joined again.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from firetree.reporting.rounds import Times
from firetree.reporting.thresholds import CHANGE, SHORTEST_STRETCH

_WINDOW = 5
"""Steps of the running median."""

_LEAST_NOISE = 0.02
"""Steps that differ by less than this part are equal."""

_MOST_POINTS = 2000
"""Longer series are cut by their blocks' medians, as the time grows with the square."""


def changes(times_s: Times) -> list[int]:
    """Indices at which a new typical time begins, without 0.

    Args:
        times_s: a step's time in each round.
    """
    count = len(times_s)
    if count < 2 * SHORTEST_STRETCH:
        return []
    logs = np.log(np.maximum(times_s, 1e-9))
    block = -(-count // _MOST_POINTS)
    smooth = _running_median(logs)
    points = np.array([np.median(smooth[k : k + block]) for k in range(0, count, block)])
    noise = max(_LEAST_NOISE, 1.4826 * float(np.median(np.abs(logs - smooth))))
    # Points of one window depend on each other: only every fifth is news.
    penalty = 3 * _WINDOW * noise**2 * math.log(len(points)) / block**0.5
    cuts = [cut * block for cut in _partition(points, penalty)]
    return _joined(logs, cuts)


def _running_median(values: Times) -> Times:
    half = _WINDOW // 2
    padded = np.pad(values, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)
    found: Times = np.median(windows, axis=1)
    return found


def _partition(points: Times, penalty: float) -> list[int]:
    """Where to cut so that squared deviations from segments' means, and a penalty a cut, are least."""
    count = len(points)
    sums = np.concatenate(([0.0], np.cumsum(points)))
    squares = np.concatenate(([0.0], np.cumsum(points**2)))
    best = np.full(count + 1, np.inf)
    best[0] = -penalty
    came_from = np.zeros(count + 1, np.intp)
    for end in range(1, count + 1):
        starts = np.arange(end)
        spread = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / (end - starts)
        costs = best[:end] + spread + penalty
        came_from[end] = costs.argmin()
        best[end] = costs[came_from[end]]
    cuts, end = list[int](), count
    while end:
        end = int(came_from[end])
        cuts.append(end)
    return sorted(cuts)[1:]


def _joined(logs: Times, cuts: list[int]) -> list[int]:
    """The cuts without those between segments that are too short, or hardly differ; the least first."""
    while cuts:
        edges = [0, *cuts, len(logs)]
        segments = [logs[a:b] for a, b in pairwise(edges)]
        differ = [
            (
                min(len(one), len(other)) >= SHORTEST_STRETCH,
                abs(float(np.median(other) - np.median(one))),
            )
            for one, other in pairwise(segments)
        ]
        is_long, step = min(differ)
        if is_long and step >= math.log(CHANGE):
            break
        least = differ.index((is_long, step))
        cuts = cuts[:least] + cuts[least + 1 :]
    return cuts
