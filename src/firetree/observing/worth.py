"""Whether several workers are slower than one alone: told once, while the run is young."""

from __future__ import annotations

from firetree.network.units import format_duration
from firetree.planning.outlook import Outlook
from firetree.trace import StepTrace

FIRST_STEPS, LOOKED_AT = 16, 32
"""The first steps load, compile and find their buckets; so many of the next tell."""


class Worth:
    """What the workers of a run do, against one alone that works as rank 0 does and waits for nobody."""

    def __init__(self, world_size: int):
        self._world_size = world_size
        self._seen = self._looked_at = 0
        self._step_s = self._waited_s = 0.0

    def add(self, step: StepTrace) -> str:
        """A step of rank 0 is over; says once that one worker alone would be faster, if it would."""
        self._seen += 1
        if self._seen <= FIRST_STEPS or self._looked_at == LOOKED_AT or self._world_size == 1:
            return ""
        self._looked_at += 1
        self._step_s += step.training_s
        self._waited_s += step.communication_s
        return self._verdict() if self._looked_at == LOOKED_AT else ""

    def _verdict(self) -> str:
        step_s, waited_s = self._step_s / self._looked_at, self._waited_s / self._looked_at
        seen = Outlook(self._world_size, step_s, step_s - waited_s, algorithm="")
        if not seen.is_slower or seen.speedup <= 0:
            return ""
        return (
            f"a step takes {format_duration(step_s)}, of which rank 0 waits {format_duration(waited_s)} for "
            f"sums: {self._world_size} workers do the work of {seen.speedup:.2g}, and one alone would be "
            f"{1 / seen.speedup:.2g} times as fast"
        )
