"""Carry a schedule out on real ranks: over wires between CPUs, over NCCL between GPUs.

Sums are formed in the schedule's order, so that all ranks and all runs get the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.distributed as dist
from torch import Tensor

from firetree.collectives.graph import channels
from firetree.collectives.over_nccl import OverNccl
from firetree.collectives.over_wires import OverWires
from firetree.collectives.proof import prove
from firetree.collectives.schedule import Operation, Schedule, chunk_bounds
from firetree.wires import Mesh


@dataclass(frozen=True, slots=True)
class Channel:
    """What a rank sends to a peer in a run, or receives from it."""

    peer: int
    is_sent: bool
    operations: tuple[Operation, ...]
    sizes_bytes: tuple[int, ...]
    size_bytes: int


Carried = tuple[Sequence[Channel], Sequence[list[float]]]
"""The channels of a run, and the moments of each as `OverWires.carry` returns them; NCCL tells none."""


class Executor:
    """Runs one schedule, again and again, on the ranks of a mesh or of an NCCL group.

    They must be used for nothing else while a run is under way. Not safe for use from two threads at
    once.

    Args:
        schedule: proved here; its world size must be that of `over`.
        over: what carries the chunks.

    Raises:
        ScheduleError: the schedule does not compute its collective, or may block.
    """

    def __init__(self, schedule: Schedule, over: Mesh | dist.ProcessGroup):
        ranks, rank = (
            (over.world_size, over.rank) if isinstance(over, Mesh) else (over.size(), over.rank())
        )
        if schedule.world_size != ranks:
            raise ValueError(f"a schedule for {schedule.world_size} ranks on {ranks} ranks")
        self.schedule = schedule
        self.rank: int = rank
        self.sent_bytes = [0] * schedule.world_size
        self._channels: dict[tuple[int, int], list[Channel]] = {}
        graph = prove(schedule)
        self._carrier = (
            OverWires(schedule, over) if isinstance(over, Mesh) else OverNccl(schedule, graph, over)
        )

    def run(self, buffer: Tensor) -> Carried:
        """Carry out the collective on `buffer` (one dimension, contiguous), in place; tell what moved.

        Raises:
            CollectiveError: a rank did not answer in time, went away, or is out of step.
        """
        moments_s = self._carrier.carry(buffer)
        size = buffer.numel(), buffer.element_size()
        if size not in self._channels:
            self._channels[size] = self._channels_of(*size)
        for channel in self._channels[size]:
            if channel.is_sent:
                self.sent_bytes[channel.peer] += channel.size_bytes
        return self._channels[size], moments_s

    def _channels_of(self, element_count: int, item_bytes: int) -> list[Channel]:
        """What each of `graph.channels` moves."""
        bounds = chunk_bounds(element_count, self.schedule.chunks)
        sizes_bytes = [item_bytes * (end - begin) for begin, end in pairwise(bounds)]
        program, made = self.schedule.programs[self.rank], list[Channel]()
        for indices in channels(program):
            operations = tuple(program[index] for index in indices)
            of_each = tuple(sizes_bytes[op.chunk] for op in operations)
            kind, peer, _ = operations[0]
            made.append(Channel(peer, kind == "send", operations, of_each, sum(of_each)))
        return made
