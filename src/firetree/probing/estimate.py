"""A figure from repeated measurements: the median, and where it lies with 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, stdev

_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
"""Two-sided 95 % points of Student's t by degrees of freedom."""
_LEAST_FOR_ORDER = 9
"""From so many on, two of the sorted measurements enclose the median without any assumption."""


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median; of a single measurement, that one."""
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
    """Half of the interval over the median; infinite where one measurement says nothing of that."""
    if len(samples) < 2:
        return math.inf
    low, high = interval(samples)
    return (high - low) / 2 / max(median(samples), 1e-300)
