"""One clock for all ranks, so that their moments can be compared."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

ROUNDS = 8

DRIFT = 50e-6
"""How fast the clocks of two hosts drift apart at most: 50 µs a second, as of two plain crystals."""

_FRESH_S = 60.0
"""Clocks of two hosts drift apart by 3 ms in this time, where they are bad."""


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


def offset_to_rank_0_s(group: dist.ProcessGroup | None = None) -> float:
    """Seconds to add to this rank's monotonic clock to read rank 0's; all ranks of the group call it at once.

    Rank 0 answers `ROUNDS` requests with its time; `RemoteClock` says which counts.
    """
    message = torch.zeros(1, dtype=torch.float64)
    if dist.get_rank(group) == 0:
        for peer in range(1, dist.get_world_size(group)):
            for _ in range(ROUNDS):
                dist.recv(message, group=group, group_src=peer)
                message[0] = time.monotonic()
                dist.send(message, group=group, group_dst=peer)
        return 0.0
    clock = RemoteClock()
    for _ in range(ROUNDS):
        asked_s = time.monotonic()
        dist.send(message, group=group, group_dst=0)
        dist.recv(message, group=group, group_src=0)
        clock.hear(asked_s, time.monotonic(), float(message[0]))
    return clock.offset_s


class CommonClock:
    """Tells the ranks of a group how long something took that all of them did.

    A rank that comes early waits for the others, which is no part of it: it lasts from the last rank's
    start to the last rank's end.
    """

    def __init__(self, group: dist.ProcessGroup | None = None):
        self._group = group
        self._offset_s, self._read_s = 0.0, 0.0
        self._is_old = True

    def durations_s(
        self, spans: Sequence[tuple[float, float]], longest_s: float
    ) -> tuple[list[float], float]:
        """Seconds of each span, and the highest `longest_s` of any rank; all ranks call it together.

        Args:
            spans: start and end on this rank's monotonic clock, as many on every rank.
            longest_s: any duration of this rank's.
        """
        if self._is_old:
            self._offset_s, self._read_s = offset_to_rank_0_s(self._group), time.monotonic()
        own = torch.tensor(spans, dtype=torch.float64).view(-1, 2)
        start, end = (own + self._offset_s).unbind(1)
        lasted = end - start
        others = torch.tensor([longest_s, time.monotonic() - self._read_s], dtype=torch.float64)
        told = torch.cat([start, end, lasted, -lasted, others])
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self._group)
        last_start, last_end, most, least = told[:-2].view(4, -1).unbind(0)
        self._is_old = float(told[-1]) > _FRESH_S
        # Whatever the clocks say: the last to start did not wait, and the last to end was there for all.
        return (last_end - last_start).clamp(-least, most).tolist(), float(told[-2])
