"""Rank 0's clock, as another rank reads it from what rank 0 answers."""

from __future__ import annotations

DRIFT = 50e-6
"""How fast the clocks of two hosts drift apart at most: 50 µs a second, as of two plain crystals."""


class RemoteClock:
    """How far rank 0's monotonic clock is ahead of this rank's.

    An answer is taken as if it was read halfway: it is wrong by half of the round trip at most
    (Cristian, "Probabilistic clock synchronization", 1989), and by `DRIFT` more as time goes on. So an
    answer counts until a later one is surer.
    """

    def __init__(self) -> None:
        self.offset_s = 0.0
        """Seconds to add to this rank's clock."""
        self.answers = 0
        self._unsure_s, self._heard_s = float("inf"), 0.0

    def hear(self, asked_s: float, answered_s: float, there_s: float) -> None:
        """Rank 0's clock was at `there_s` at some time between these two of this rank's."""
        self.answers += 1
        unsure_s = (answered_s - asked_s) / 2
        if unsure_s <= self.unsure_s(answered_s):
            self.offset_s = there_s - (asked_s + answered_s) / 2
            self._unsure_s, self._heard_s = unsure_s, answered_s

    def unsure_s(self, now_s: float) -> float:
        """How wrong the offset can be at a time of this rank's clock."""
        return self._unsure_s + DRIFT * (now_s - self._heard_s)
