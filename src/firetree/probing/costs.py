"""What computing and Gloo's messages cost a host's CPU, measured in one thread and between all hosts."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean, median

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore, Store

from firetree.torch_private import gloo_group

_ADD_BYTES = 400_000
_MATRIX = 192
_SPAN_S = 0.05
_TIMEOUT_S = 5.0
_TINY_BYTES, _LARGE_BYTES, _POOL_BYTES = 4, 1 << 18, 1 << 24
_TINY, _LARGE = 100, 40
"""Messages in one repeat."""
_REPEATS = 5
RING_BYTES, _RING = 1 << 15, 80
"""Size and number of messages between all hosts. With tiny ones the CPUs would only wait."""


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
    """The median duration of calls within the span; the first ones, which wake the CPU up, don't count."""
    times_s, end_s = list[float](), time.perf_counter() + _SPAN_S
    while (start_s := time.perf_counter()) < end_s:
        call()
        times_s.append(time.perf_counter() - start_s)
    return median(times_s[len(times_s) // 4 :])


def ring_message_s(
    store: Store, address: str, index: int, size: int, limit_s: float
) -> float | None:
    """CPU seconds on this host for an end of a message of RING_BYTES.

    Each of the `size` hosts calls this with its index; each sends to the next one as fast as it
    receives, as in a ring all-reduce. None if a host does not take part.
    """
    with contextlib.suppress(RuntimeError):
        group = gloo_group(store, address, index, size, limit_s)
        after, before = (index + 1) % size, (index - 1) % size
        outgoing, incoming = torch.zeros(2, RING_BYTES // 4)
        messages_s = []
        for _ in range(_RING):
            start_s = time.process_time()
            arrived = group.recv([incoming], before, 0)
            group.send([outgoing], after, 0).wait()
            arrived.wait()
            messages_s.append((time.process_time() - start_s) / 2)
        return fmean(messages_s[_RING // 8 :])
    return None


def _message_costs() -> tuple[float, float, float]:
    """`message_s`, `byte_s` and `software_s` (see `Costs`), measured between two ranks in this thread."""
    groups = _two_ranks()
    _exchange(groups, _tensors(_TINY_BYTES), _TINY)
    tiny = [_exchange(groups, _tensors(_TINY_BYTES), _TINY) for _ in range(_REPEATS)]
    large_tensors = _tensors(_LARGE_BYTES)
    large = [_exchange(groups, large_tensors, _LARGE) for _ in range(_REPEATS)]
    message_s = median(cpu_s for cpu_s, _ in tiny) / 2
    large_s = median(cpu_s for cpu_s, _ in large) / 2
    byte_s = max(0.0, large_s - message_s) / _LARGE_BYTES
    return message_s, byte_s, max(0.0, median(wall_s for _, wall_s in tiny) - 2 * message_s)


def _two_ranks() -> Sequence[dist.ProcessGroup]:
    store = HashStore()
    with ThreadPoolExecutor(2) as threads:
        return [
            *threads.map(lambda rank: gloo_group(store, "127.0.0.1", rank, 2, _TIMEOUT_S), range(2))
        ]


def _tensors(size_bytes: int) -> Sequence[Tensor]:
    """Buffers of that size; together no cache holds the large ones, as it would not in training."""
    number = max(2, _POOL_BYTES // size_bytes) if size_bytes > _TINY_BYTES else 2
    return [torch.zeros(size_bytes // 4) for _ in range(number)]


def _exchange(
    groups: Sequence[dist.ProcessGroup], tensors: Sequence[Tensor], count: int
) -> tuple[float, float]:
    """CPU seconds and seconds of the clock for a message back or forth."""
    buffers = itertools.cycle(tensors)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for number in range(count):
        sender, receiver = number % 2, 1 - number % 2
        arrived = groups[receiver].recv([next(buffers)], sender, 0)
        sent = groups[sender].send([next(buffers)], receiver, 0)
        sent.wait()
        arrived.wait()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return cpu_s / count, wall_s / count
