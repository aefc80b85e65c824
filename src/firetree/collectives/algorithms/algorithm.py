"""An algorithm's interface: its hops, its rule for the number of chunks, and its closed-form costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from firetree.collectives.reduction import Hop

MESSAGE_BYTES = 1536
"""The fixed cost of a message, expressed in bytes: α·BW of Ethernet, 60 µs at 200 Mbit/s."""

LEAST_CHUNK_BYTES = 1 << 15
"""With smaller chunks, the CPU's work for messages is slower than the link."""

LARGEST_CHUNK_BYTES = 1 << 21
"""Larger chunks are split, so that adding one overlaps with receiving the next."""


@dataclass(frozen=True, slots=True)
class ScheduleCost:
    """Closed-form cost of an all-reduce on equal full-duplex links.

    In each of `steps`, a rank sends at most one chunk and receives at most one. `sent_bytes` is for the
    busiest rank.
    """

    steps: int
    sent_bytes: float
    time_s: float


@dataclass(frozen=True, slots=True)
class LinkGraph:
    """Equal links: `latency_s` for each message (α) and `rate_bytes_s` in each direction (BW)."""

    latency_s: float
    rate_bytes_s: float


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An all-reduce algorithm as functions of the world size and the number of chunks.

    `hops(world_size, chunks)` is the reduction from which its collectives are built.
    `chunks(world_size, size_bytes)` is the best number of chunks for a buffer. `steps` and `sent_chunks`
    of `(world_size, chunks)` are the all-reduce's closed forms. With `one_port` a rank sends to its
    children one at a time, as the closed forms assume; pipelined algorithms do not.
    """

    hops: Callable[[int, int], list[Hop]]
    chunks: Callable[[int, float], int]
    steps: Callable[[int, int], int]
    sent_chunks: Callable[[int, int], float]
    one_port: bool = False

    def cost(
        self, world_size: int, chunks: int, size_bytes: float, links: LinkGraph
    ) -> ScheduleCost:
        """Steps, bytes and time for a buffer of `size_bytes`: every step is α + W/(chunks·BW)."""
        if world_size == 1:
            return ScheduleCost(0, 0.0, 0.0)
        steps = self.steps(world_size, chunks)
        step_s = links.latency_s + size_bytes / chunks / links.rate_bytes_s
        sent_bytes = self.sent_chunks(world_size, chunks) * size_bytes / chunks
        return ScheduleCost(steps, sent_bytes, steps * step_s)


def whole(world_size: int, size_bytes: float) -> int:
    """One chunk: the whole buffer."""
    return 1


def pipelined(fill_steps: int, steps_a_chunk: int, size_bytes: float) -> int:
    """The number n of chunks with the least (fill + a·n)·(MESSAGE_BYTES + W/n), up to 256.

    `fill_steps` are the steps of a single chunk beyond `steps_a_chunk`, a. The minimum is at
    n = √(fill/a · W/MESSAGE_BYTES): more chunks fill the pipeline sooner but cost more messages. Chunks
    have at least LEAST_CHUNK_BYTES.
    """
    best = math.sqrt(max(fill_steps, 1) / steps_a_chunk * size_bytes / MESSAGE_BYTES)
    return max(1, min(256, round(best), math.ceil(size_bytes / LEAST_CHUNK_BYTES)))


def shares(number: int, size_bytes: float) -> int:
    """`number` shares, each cut into as few chunks as LARGEST_CHUNK_BYTES allows."""
    return number * max(1, math.ceil(size_bytes / number / LARGEST_CHUNK_BYTES))
