"""Carry a schedule out on real ranks: over wires between CPUs, over NCCL between GPUs.

Sums are formed in the schedule's order, so that all ranks and all runs get the same bits.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from firetree.collectives.over_nccl import OverNccl
from firetree.collectives.over_wires import OverWires
from firetree.collectives.proof import prove
from firetree.collectives.schedule import Schedule, chunk_bounds
from firetree.wires import Mesh


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
        graph = prove(schedule)
        self._carrier = (
            OverWires(schedule, over) if isinstance(over, Mesh) else OverNccl(schedule, graph, over)
        )

    def run(self, buffer: Tensor) -> None:
        """Carry out the collective on `buffer` (one dimension, contiguous), in place.

        Raises:
            CollectiveError: a rank did not answer in time, went away, or is out of step.
        """
        self._carrier.carry(buffer)
        bounds, item_bytes = (
            chunk_bounds(buffer.numel(), self.schedule.chunks),
            buffer.element_size(),
        )
        for op in self.schedule.programs[self.rank]:
            if op.kind == "send":
                self.sent_bytes[op.peer] += item_bytes * (bounds[op.chunk + 1] - bounds[op.chunk])
