"""When a bucket was ready, and when its sum began and ended: read on the host, or on a GPU's stream.

A GPU does later what the host asks of it, so a moment there is an event, which becomes a time
once it has passed. Both clocks give seconds of the host's monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments, and says later when they were."""

    def mark(self) -> Any:
        """Now."""

    def seconds(self, marks: Sequence[Any]) -> list[float]:
        """When each of the marks was made; waits until all have passed."""


class HostClock:
    """What the host does, it does at once."""

    def mark(self) -> float:
        return time.monotonic()

    def seconds(self, marks: Sequence[float]) -> list[float]:
        return list(marks)


class GpuClock:
    """Marks are events on the current stream of the current GPU."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        torch.cuda.synchronize()
        now = self.mark()
        now.synchronize()
        now_s = time.monotonic()
        return [now_s - mark.elapsed_time(now) / 1e3 for mark in marks]
