"""What computing and messages cost a host's CPU, measured inside the host alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from firetree.probing.messages import message_costs

_ADD_BYTES = 400_000
_MATRIX = 192
_SPAN_S = 0.05


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of each end of a message, of each of its bytes, and of each byte added to a sum.

    `software_s` is a tiny message's time without any network, beyond `message_s` at its two ends.
    `flops_s` is the speed of small matrix products.
    """

    message_s: float
    byte_s: float
    add_s: float
    software_s: float
    flops_s: float


def measure_costs() -> Costs:
    """Measure this host; takes about 0.3 s, in which nothing else should run here."""
    message_s, byte_s, software_s = message_costs()
    return Costs(message_s, byte_s, _add_s(), software_s, _flops_s())


def _add_s() -> float:
    sums, added = torch.zeros(_ADD_BYTES // 4), torch.ones(_ADD_BYTES // 4)
    return _repeated(lambda: sums.add_(added)) / _ADD_BYTES


def _flops_s() -> float:
    left, right = torch.ones(_MATRIX, _MATRIX), torch.ones(_MATRIX, _MATRIX)
    product = torch.empty(_MATRIX, _MATRIX)
    return 2 * _MATRIX**3 / _repeated(lambda: torch.mm(left, right, out=product))


def _repeated(call: Callable[[], object]) -> float:
    """The median duration of calls within the span; the first ones, which wake the CPU up, don't count."""
    times_s, end_s = list[float](), time.perf_counter() + _SPAN_S
    while (start_s := time.perf_counter()) < end_s:
        call()
        times_s.append(time.perf_counter() - start_s)
    return median(times_s[len(times_s) // 4 :])
