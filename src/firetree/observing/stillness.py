"""Notices that a process did not run for a while: it was stopped, or its host was."""

from __future__ import annotations

import time

STILL_S = 1.0
"""A process that stands still for a shorter time may only wait for a busy CPU."""
_USED = 0.1
"""A process that used a CPU for a larger part of the time did run, and kept its threads from running."""


class Stillness:
    """The time between two looks, which a thread takes several times a second if it can.

    Args:
        every_s: how far apart looks are at most, in a process that runs.
    """

    def __init__(self, every_s: float):
        self._every_s = every_s
        self._looked_s, self._cpu_s = time.monotonic(), time.process_time()

    def look(self) -> float:
        """Seconds for which the process stood still since the last look; 0 if it ran."""
        now_s, cpu_s = time.monotonic(), time.process_time()
        still_s = now_s - self._looked_s - self._every_s
        used_s = cpu_s - self._cpu_s
        self._looked_s, self._cpu_s = now_s, cpu_s
        return still_s if still_s >= STILL_S and used_s < _USED * still_s else 0.0
