"""Carry a schedule out over torch.distributed's point-to-point calls, on Gloo or NCCL.

On Gloo one thread follows the `rank_order`; on NCCL the schedule's levels are rounds of grouped calls. Either
way sums are formed in the schedule's order, so that all ranks and all runs get the same bits.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.collectives.graph import Graph
from firetree.collectives.proof import prove
from firetree.collectives.rank_order import CONFIRMED_BYTES, Stage, rank_order
from firetree.collectives.rounds import ExchangeRound, plan_rounds
from firetree.collectives.schedule import Operation, Schedule, chunk_bounds
from firetree.errors import CollectiveError


class Carrier(Protocol):
    """Moves the chunks of a buffer as a rank's program says; `slots` staging chunks are its own."""

    slots: int

    def carry(self, chunks: Sequence[Tensor], staging: Sequence[Tensor]) -> None: ...


class Executor:
    """Runs one schedule, again and again, on the ranks of a process group.

    The group must be used for nothing else while a run is under way. Not safe for use from two
    threads at once. Staging memory is allocated once: `WINDOW` chunks for each peer that sends
    something to add.

    Args:
        schedule: proved here; its world size must be the group's.
        group: a process group with point-to-point calls (Gloo or NCCL).
        timeout_s: how long to wait for a peer, in seconds.

    Raises:
        ScheduleError: the schedule does not compute its collective, or may block.
    """

    def __init__(self, schedule: Schedule, group: dist.ProcessGroup, timeout_s: float = 60.0):
        if schedule.world_size != group.size():
            raise ValueError(f"a schedule for {schedule.world_size} ranks on {group.size()} ranks")
        self.schedule = schedule
        self.rank: int = group.rank()
        self.sent_bytes = [0] * schedule.world_size
        self._staging = torch.empty(0, dtype=torch.uint8)
        graph = prove(schedule)
        self._carrier: Carrier = (
            OverNccl(schedule, graph, group)
            if dist.get_backend(group) == "nccl"
            else OverGloo(schedule, graph, group, timeout_s)
        )

    def run(self, buffer: Tensor) -> None:
        """Carry out the collective on `buffer` (one dimension, contiguous), in place.

        Raises:
            CollectiveError: a peer did not answer in time or went away.
        """
        bounds = chunk_bounds(buffer.numel(), self.schedule.chunks)
        chunks = [buffer[begin:end] for begin, end in itertools.pairwise(bounds)]
        self._carrier.carry(chunks, self._staging_for(buffer, max(map(torch.numel, chunks))))
        for op in self.schedule.programs[self.rank]:
            if op.kind == "send":
                self.sent_bytes[op.peer] += chunks[op.chunk].nbytes

    def _staging_for(self, buffer: Tensor, chunk_elements: int) -> list[Tensor]:
        slot_bytes = chunk_elements * buffer.element_size()
        needed = slot_bytes * self._carrier.slots
        if self._staging.numel() < needed or self._staging.device != buffer.device:
            self._staging = torch.empty(needed, dtype=torch.uint8, device=buffer.device)
        return [
            self._staging[k * slot_bytes : (k + 1) * slot_bytes].view(buffer.dtype)
            for k in range(self._carrier.slots)
        ]


_DATA, _CONFIRMATION = 0, 1  # message tags


class OverGloo:
    """One thread that follows the rank's order, and waits for nothing but the receive that comes next.

    A send is over for the backend when the system has taken its bytes, long before they are there.
    Where the next one must wait for that, a tiny message follows the chunk: the backend does not
    let it go before the receiver has asked for it.
    """

    def __init__(
        self, schedule: Schedule, graph: Graph, group: dist.ProcessGroup, timeout_s: float
    ):
        self._group, self._number_of_chunks = group, schedule.chunks
        self._ranks = dist.get_process_group_ranks(group)
        self._timeout = timedelta(seconds=timeout_s)
        self._order = rank_order(schedule, graph, group.rank())
        self._tiny = torch.zeros(1)
        self._waiting: dict[int, tuple[dist.Work, Tensor]] = {}
        self._sends: dict[int, list[tuple[dist.Work, Operation]]] = defaultdict(list)
        self._confirmations: list[tuple[dist.Work, Operation]] = []
        self.slots = self._order.slots

    def carry(self, chunks: Sequence[Tensor], staging: Sequence[Tensor]) -> None:
        """Follow the order once; every send is over when it returns."""
        self._enter(self._order.stages[0], chunks, staging)
        for index, stage in zip(self._order.waits, self._order.stages[1:], strict=True):
            if index in self._waiting:
                self._finish(index, chunks)
            self._enter(stage, chunks, staging)
        for chunk in list(self._sends):
            self._finish_sends(chunk)
        while self._confirmations:
            self._wait(*self._confirmations.pop())

    def _enter(self, stage: Stage, chunks: Sequence[Tensor], staging: Sequence[Tensor]) -> None:
        for index in stage.posts:
            self._post(index, chunks, staging)
        for index in stage.sends:
            op, chunk = self._order.program[index], chunks[self._order.program[index].chunk]
            if chunk.numel():
                self._sends[op.chunk].append((self._send(chunk, op, _DATA), op))
            if self._is_confirmed(index, chunk):
                self._waiting[index] = self._send(self._tiny, op, _CONFIRMATION), self._tiny
        for index in stage.late_posts:
            self._post(index, chunks, staging)

    def _post(self, index: int, chunks: Sequence[Tensor], staging: Sequence[Tensor]) -> None:
        op, target = self._order.program[index], chunks[self._order.program[index].chunk]
        if index in self._order.guarded:
            self._finish_sends(op.chunk)
        if index in self._order.slot_of:
            target = staging[self._order.slot_of[index]][: target.numel()]
        if target.numel():
            self._waiting[index] = self._receive(target, op, _DATA), target

    def _finish(self, index: int, chunks: Sequence[Tensor]) -> None:
        op, (work, received) = self._order.program[index], self._waiting.pop(index)
        self._wait(work, op)
        if op.kind == "send":
            return
        if self._is_confirmed(index, received):
            self._confirmations.append((self._receive(self._tiny, op, _CONFIRMATION), op))
        self._finish_sends(op.chunk)
        if op.kind == "recv_reduce":
            chunks[op.chunk].add_(received)

    def _is_confirmed(self, index: int, chunk: Tensor) -> bool:
        return index in self._order.confirmed and chunk.nbytes >= CONFIRMED_BYTES

    def _finish_sends(self, chunk: int) -> None:
        for work, op in self._sends.pop(chunk, ()):
            self._wait(work, op)

    def _send(self, chunk: Tensor, op: Operation, tag: int) -> dist.Work:
        try:
            return self._group.send([chunk], op.peer, tag)
        except RuntimeError as error:
            raise self._lost(op, error) from error

    def _receive(self, target: Tensor, op: Operation, tag: int) -> dist.Work:
        try:
            return self._group.recv([target], op.peer, tag)
        except RuntimeError as error:
            raise self._lost(op, error) from error

    def _wait(self, work: dist.Work, op: Operation) -> None:
        try:
            work.wait(self._timeout)
        except RuntimeError as error:
            raise self._lost(op, error) from error

    def _lost(self, op: Operation, error: RuntimeError) -> CollectiveError:
        late = "Timed out" in str(error) or "timeout" in str(error).lower()
        within_s = self._timeout.total_seconds() if late else None
        what = f"did not answer within {within_s:g} s" if late else "went away"
        peer, rank = self._ranks[op.peer], self._ranks[self._group.rank()]
        where = f"rank {rank} was at {op._replace(peer=peer)}, {self._number_of_chunks} chunks"
        return CollectiveError(f"rank {peer} {what} ({where})", peer, where, within_s)


class OverNccl:
    """Rounds of grouped point-to-point calls, queued on the current stream; the host waits for none.

    A peer that is lost is noticed by NCCL's own watchdog, within the group's timeout.
    """

    def __init__(self, schedule: Schedule, graph: Graph, group: dist.ProcessGroup):
        self._group = group
        self._peers = dist.get_process_group_ranks(group)
        self._rounds, self.slots = plan_rounds(graph, group.rank())

    def carry(self, chunks: Sequence[Tensor], staging: Sequence[Tensor]) -> None:
        """Queue all rounds on the current stream."""
        for round_ in self._rounds:
            calls = self._calls(round_, chunks, staging)
            for work in dist.batch_isend_irecv(calls) if calls else ():
                work.wait()
            for chunk, slot in round_.additions:
                chunks[chunk].add_(staging[slot][: chunks[chunk].numel()])

    def _calls(
        self, round_: ExchangeRound, chunks: Sequence[Tensor], staging: Sequence[Tensor]
    ) -> list[dist.P2POp]:
        calls = []
        for op, slot in round_.transfers:
            target = chunks[op.chunk]
            if slot is not None:
                target = staging[slot][: target.numel()]
            if target.numel():
                call = dist.isend if op.kind == "send" else dist.irecv
                calls.append(dist.P2POp(call, target, self._peers[op.peer], self._group))
        return calls
