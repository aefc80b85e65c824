"""One clock for all ranks, so that their traces can be compared."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

ROUNDS = 8


def offset_to_rank_0_s(rank: int, world_size: int) -> float:
    """Seconds to add to this rank's monotonic clock to read rank 0's; all ranks call it at once.

    Rank 0 answers `ROUNDS` requests with its time. The one with the shortest round trip counts, as if
    it was read halfway (Cristian, "Probabilistic clock synchronization", 1989).
    """
    message = torch.zeros(1, dtype=torch.float64)
    if rank == 0:
        for peer in range(1, world_size):
            for _ in range(ROUNDS):
                dist.recv(message, peer)
                message[0] = time.monotonic()
                dist.send(message, peer)
        return 0.0
    answers = []
    for _ in range(ROUNDS):
        asked_s = time.monotonic()
        dist.send(message, 0)
        dist.recv(message, 0)
        answered_s = time.monotonic()
        round_trip_s = answered_s - asked_s
        answers.append((round_trip_s, float(message[0]) - (asked_s + answered_s) / 2))
    return min(answers)[1]
