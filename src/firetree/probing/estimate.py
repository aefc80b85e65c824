"""The 95 % confidence interval of the median of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, stdev

_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
"""Two-sided 95 % points of Student's t by degrees of freedom."""
_LEAST_FOR_ORDER = 9
"""From so many samples on, two of the sorted ones enclose the median for any distribution."""


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """The interval; a single measurement gives itself as both ends."""
    count, middle = len(samples), median(samples)
    if count == 1:
        return middle, middle
    if count < _LEAST_FOR_ORDER:
        half = _STUDENT[count - 1] * stdev(samples) / math.sqrt(count)
        return max(0.0, middle - half), middle + half
    below = int((count - 1.96 * math.sqrt(count)) / 2)
    ordered = sorted(samples)
    return ordered[below], ordered[count - 1 - below]


def half_width(samples: Sequence[float]) -> float:
    """Half the interval, as a share of the median; infinite for a single measurement."""
    if len(samples) < 2:
        return math.inf
    low, high = interval(samples)
    return (high - low) / 2 / max(median(samples), 1e-300)
