"""What computing and messages cost a host's processor, measured inside the host alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore, ProcessGroupGloo

_ADD_BYTES = 400_000
_MATRIX = 192
_SPAN_S = 0.05
_TIMEOUT_S = 5.0
_TINY_BYTES, _LARGE_BYTES, _POOL_BYTES = 4, 1 << 18, 1 << 24
_TINY, _LARGE = 100, 40
"""Messages in one repeat."""
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the processor: for a message and end, for each of its bytes, for a byte added.

    `software_s` is how much longer than its two ends' `message_s` a tiny message is under way where
    there is no network at all; `flops_s` the speed of small matrix products.
    """

    message_s: float
    byte_s: float
    add_s: float
    software_s: float
    flops_s: float


def measure_costs() -> Costs:
    """Measure this host; takes about 0.3 s, in which nothing else should run here."""
    message_s, byte_s, software_s = _message_costs()
    return Costs(message_s, byte_s, _add_s(), software_s, _flops_s())


def _add_s() -> float:
    sums, added = torch.zeros(_ADD_BYTES // 4), torch.ones(_ADD_BYTES // 4)
    return _repeated(lambda: sums.add_(added)) / _ADD_BYTES


def _flops_s() -> float:
    left, right = torch.ones(_MATRIX, _MATRIX), torch.ones(_MATRIX, _MATRIX)
    product = torch.empty(_MATRIX, _MATRIX)
    return 2 * _MATRIX**3 / _repeated(lambda: torch.mm(left, right, out=product))


def _repeated(call: Callable[[], object]) -> float:
    """The median duration of a call within the span; the first ones wake the processor up."""
    times_s, end_s = list[float](), time.perf_counter() + _SPAN_S
    while (start_s := time.perf_counter()) < end_s:
        call()
        times_s.append(time.perf_counter() - start_s)
    return median(times_s[len(times_s) // 4 :])


def _message_costs() -> tuple[float, float, float]:
    """`message_s`, `byte_s` and `software_s` of two Gloo ranks that are both in this thread."""
    groups = _two_ranks()
    _exchange(groups, _tensors(_TINY_BYTES), _TINY)
    tiny = [_exchange(groups, _tensors(_TINY_BYTES), _TINY) for _ in range(_REPEATS)]
    large_tensors = _tensors(_LARGE_BYTES)
    large = [_exchange(groups, large_tensors, _LARGE) for _ in range(_REPEATS)]
    message_s = median(processor_s for processor_s, _ in tiny) / 2
    large_s = median(processor_s for processor_s, _ in large) / 2
    byte_s = max(0.0, large_s - message_s) / _LARGE_BYTES
    return message_s, byte_s, max(0.0, median(wall_s for _, wall_s in tiny) - 2 * message_s)


def _two_ranks() -> Sequence[dist.ProcessGroup]:
    store = HashStore()
    with ThreadPoolExecutor(2) as threads:
        return [*threads.map(lambda rank: _rank(store, rank), range(2))]


def _rank(store: HashStore, rank: int) -> dist.ProcessGroup:
    gloo: Any = ProcessGroupGloo  # its stubs lack the options
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname="127.0.0.1")]
    options._timeout = timedelta(seconds=_TIMEOUT_S)
    options._threads = 1
    group: dist.ProcessGroup = gloo(store, rank, 2, options)
    return group


def _tensors(size_bytes: int) -> Sequence[Tensor]:
    """Buffers of that size; together no cache holds the large ones, as it would not in training."""
    number = max(2, _POOL_BYTES // size_bytes) if size_bytes > _TINY_BYTES else 2
    return [torch.zeros(size_bytes // 4) for _ in range(number)]


def _exchange(
    groups: Sequence[dist.ProcessGroup], tensors: Sequence[Tensor], count: int
) -> tuple[float, float]:
    """Seconds of the processor and of the clock for a message back or forth."""
    buffers = itertools.cycle(tensors)
    processor_s, wall_s = time.process_time(), time.perf_counter()
    for number in range(count):
        sender, receiver = number % 2, 1 - number % 2
        arrived = groups[receiver].recv([next(buffers)], sender, 0)
        sent = groups[sender].send([next(buffers)], receiver, 0)
        sent.wait()
        arrived.wait()
    processor_s, wall_s = time.process_time() - processor_s, time.perf_counter() - wall_s
    return processor_s / count, wall_s / count
