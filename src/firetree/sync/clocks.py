"""Clocks for a bucket's moments: when it was ready, and when its sum began and ended.

A GPU runs behind the host. So its clock marks events on the stream, and turns them into times once
they have passed. Both clocks give seconds of the host's monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments, and gives their times later."""

    def mark(self) -> Any:
        """Mark this moment."""

    def seconds(self, marks: Sequence[Any]) -> list[float]:
        """The time of each mark; waits until all have passed."""


class HostClock:
    """Marks are times: the host has done what it was asked when a call returns."""

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
