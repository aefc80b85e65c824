"""What every algorithm's file offers: its schedule, its usual number of chunks, its closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firetree.collectives.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Cost:
    """Closed form of an all-reduce on equal full-duplex links.

    `steps` counts rounds in which each rank sends one message and receives one at most;
    `sent_bytes` is what the busiest rank sends.
    """

    steps: int
    sent_bytes: float
    time_s: float


@dataclass(frozen=True, slots=True)
class Links:
    """Equal links: `latency_s` a message (α) and `rate_bytes_s` a direction (BW)."""

    latency_s: float
    rate_bytes_s: float


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An all-reduce algorithm.

    `build(world_size, chunks)` gives the schedule, `usual_chunks(world_size)` the number of chunks
    that its closed form speaks of, `cost(world_size, size_bytes, links)` that closed form.
    """

    build: Callable[[int, int], Schedule]
    usual_chunks: Callable[[int], int]
    cost: Callable[[int, float, Links], Cost]
