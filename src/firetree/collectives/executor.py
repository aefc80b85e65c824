"""Carry a schedule out over torch.distributed's point-to-point calls.

One thread walks the rank's operations in the order of their levels; receives are posted ahead, so
that both directions of every link are busy while it waits. See `schedule` for what may overlap, and
`proof` for why this never blocks.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.collectives.graph import Graph, applied, bindings, moved
from firetree.collectives.proof import prove
from firetree.collectives.schedule import Operation, Schedule, chunk_bounds
from firetree.errors import RunFailedError

WINDOW = 4
"""Receives posted ahead on a channel: enough that the next chunk lands while this one is added."""


class CollectiveError(RunFailedError):
    """A peer did not do its part in time, or went away; names the rank and the chunk.

    `peer` is that rank, None where only the backend knows it.
    """

    def __init__(self, message: str, peer: int | None = None):
        super().__init__(message)
        self.peer = peer


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of the walk.

    `slot` is the staging slot of a reducing receive, `guarded` says that the chunk's earlier sends
    must be over before this receive is posted, `then_post` names the receives to post afterwards.
    """

    operation: Operation
    index: int
    slot: int | None
    guarded: bool
    then_post: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """A rank's program in the order in which one thread carries it out."""

    steps: tuple[Step, ...]
    post_first: tuple[int, ...]
    slots: int


def plan_walk(schedule: Schedule, graph: Graph, rank: int) -> Walk:
    """Order the rank's operations by level and find the earliest safe place to post each receive.

    A receive is posted once `WINDOW` earlier ones of its channel are no longer open. One that
    overwrites its chunk must not be posted while the chunk is still read or written, except where
    its bytes cannot arrive before that is over anyway.
    """
    program = schedule.programs[rank]
    transfer_of = _transfers_of(graph, rank)
    level = [
        graph.level[moved(t) if op.kind == "send" else applied(t)]
        for t, op in zip(transfer_of, program, strict=True)
    ]
    ordered = sorted(range(len(program)), key=lambda index: (level[index], index))
    position = {index: place for place, index in enumerate(ordered)}
    slot_of, slots = _staging_slots(program)
    unsafe = _unsafe_until_over(program, graph, rank, transfer_of)
    post_after: dict[int, list[int]] = defaultdict(list)
    for index, earlier_one in _window(program):
        earliest = unsafe[index] + earlier_one
        post_after[max((position[i] for i in earliest), default=-1)].append(index)
    for indices in post_after.values():
        indices.sort(key=position.__getitem__)
    steps = tuple(
        Step(program[index], index, slot_of.get(index), bool(unsafe[index]), tuple(post_after[k]))
        for k, index in enumerate(ordered)
    )
    return Walk(steps, tuple(post_after[-1]), slots)


def _transfers_of(graph: Graph, rank: int) -> list[int]:
    found = {t.send_index: i for i, t in enumerate(graph.transfers) if t.sender == rank}
    found |= {t.receive_index: i for i, t in enumerate(graph.transfers) if t.receiver == rank}
    return [found[index] for index in range(len(found))]


def _staging_slots(program: tuple[Operation, ...]) -> tuple[dict[int, int], int]:
    """`WINDOW` slots for each peer that sends something to add, used in turn."""
    by_peer: dict[int, list[int]] = defaultdict(list)
    for index, op in enumerate(program):
        if op.kind == "recv_reduce":
            by_peer[op.peer].append(index)
    slot_of: dict[int, int] = {}
    first = 0
    for indices in by_peer.values():
        width = min(WINDOW, len(indices))
        slot_of |= {index: first + k % width for k, index in enumerate(indices)}
        first += width
    return slot_of, first


def _window(program: tuple[Operation, ...]) -> Iterator[tuple[int, list[int]]]:
    """Each receive, with the one of its channel `WINDOW` places earlier, if there is one."""
    received: dict[int, list[int]] = defaultdict(list)
    for index, op in enumerate(program):
        if op.kind != "send":
            yield index, received[op.peer][-WINDOW : -WINDOW + 1]
            received[op.peer].append(index)


def _unsafe_until_over(
    program: tuple[Operation, ...], graph: Graph, rank: int, transfer_of: list[int]
) -> dict[int, list[int]]:
    """For each receive, the operations on its chunk that its bytes could overtake once posted."""
    known = _known_over_on_arrival(graph, rank)
    unsafe: dict[int, list[int]] = defaultdict(list)
    for earlier, later in bindings(program):
        writes_over = (
            program[later].kind == "recv" and program[earlier].chunk == program[later].chunk
        )
        if writes_over and not known[transfer_of[later]] >> earlier & 1:
            unsafe[later].append(earlier)
    return unsafe


def _known_over_on_arrival(graph: Graph, rank: int) -> list[int]:
    """For each transfer, a bit set of the rank's operations that its sending waited for.

    Only what physically precedes it counts: what its sender had to receive or send before.
    """
    before: list[int] = [0] * (2 * len(graph.transfers))
    for event in graph.order:
        t, transfer = event // 2, graph.transfers[event // 2]
        if event % 2 == 0:
            bits = 0
            for cause in graph.before_sending[t]:
                bits |= before[cause]
            own = 1 << transfer.send_index if transfer.sender == rank else 0
        else:
            bits = before[moved(t)]
            for cause in graph.before_applying[t]:
                bits |= before[cause]
            own = 1 << transfer.receive_index if transfer.receiver == rank else 0
        before[event] = bits | own
    return [before[moved(t)] for t in range(len(graph.transfers))]


class Executor:
    """Runs one schedule, again and again, on the ranks of a process group.

    The group must be used for nothing else while a run is under way. Not safe for use from two
    threads at once.

    Args:
        schedule: proved here; its world size must be the group's.
        group: a process group with point-to-point calls (Gloo or NCCL).
        timeout_s: how long to wait for a peer, in seconds.

    Raises:
        ScheduleError: the schedule is no all-reduce, or may block.
    """

    def __init__(self, schedule: Schedule, group: dist.ProcessGroup, timeout_s: float = 60.0):
        if schedule.world_size != group.size():
            raise ValueError(f"a schedule for {schedule.world_size} ranks on {group.size()} ranks")
        self.schedule = schedule
        self.rank: int = group.rank()
        self.sent_bytes = [0] * schedule.world_size
        self._group = group
        self._timeout = timedelta(seconds=timeout_s)
        self._walk = plan_walk(schedule, prove(schedule), self.rank)
        self._staging = torch.empty(0, dtype=torch.uint8)

    def run(self, buffer: Tensor) -> None:
        """Replace `buffer` (one dimension, contiguous) by its sum over all ranks, in place.

        Raises:
            CollectiveError: a peer did not answer in time or went away.
        """
        bounds = chunk_bounds(buffer.numel(), self.schedule.chunks)
        chunks = [buffer[begin:end] for begin, end in itertools.pairwise(bounds)]
        slots = self._staging_for(buffer, max(chunk.numel() for chunk in chunks))
        open_receives: dict[int, tuple[dist.Work, Tensor]] = {}
        open_sends: dict[int, list[tuple[dist.Work, Operation]]] = defaultdict(list)
        steps_at = {step.index: step for step in self._walk.steps}

        def finish_sends(chunk: int) -> None:
            for sending, sent in open_sends.pop(chunk, ()):
                self._wait(sending, sent)

        def post(indices: tuple[int, ...]) -> None:
            for index in indices:
                op, slot = steps_at[index].operation, steps_at[index].slot
                size = chunks[op.chunk].numel()
                if steps_at[index].guarded:
                    finish_sends(op.chunk)
                if size:
                    target = chunks[op.chunk] if slot is None else slots[slot][:size]
                    open_receives[index] = (self._group.recv([target], op.peer, 0), target)

        post(self._walk.post_first)
        for step in self._walk.steps:
            op = step.operation
            chunk = chunks[op.chunk]
            if chunk.numel() == 0:
                pass
            elif op.kind == "send":
                open_sends[op.chunk].append((self._send(chunk, op), op))
            else:
                work, received = open_receives.pop(step.index)
                self._wait(work, op)
                finish_sends(op.chunk)
                if op.kind == "recv_reduce":
                    chunk += received
            post(step.then_post)
        for chunk_index in list(open_sends):
            finish_sends(chunk_index)

    def _send(self, chunk: Tensor, op: Operation) -> dist.Work:
        self.sent_bytes[op.peer] += chunk.numel() * chunk.element_size()
        try:
            return self._group.send([chunk], op.peer, 0)
        except RuntimeError as error:
            raise self._lost(op, error) from error

    def _wait(self, work: dist.Work, op: Operation) -> None:
        try:
            work.wait(self._timeout)
        except RuntimeError as error:
            raise self._lost(op, error) from error

    def _lost(self, op: Operation, error: RuntimeError) -> CollectiveError:
        late = "Timed out" in str(error) or "timeout" in str(error).lower()
        what = f"did not answer within {self._timeout.total_seconds():g} s" if late else "went away"
        return CollectiveError(
            f"rank {op.peer} {what} (rank {self.rank} was at {op}, {self.schedule.chunks} chunks)",
            op.peer,
        )

    def _staging_for(self, buffer: Tensor, chunk_elements: int) -> list[Tensor]:
        slot_bytes = chunk_elements * buffer.element_size()
        needed = slot_bytes * self._walk.slots
        if self._staging.numel() < needed or self._staging.device != buffer.device:
            self._staging = torch.empty(needed, dtype=torch.uint8, device=buffer.device)
        return [
            self._staging[k * slot_bytes : (k + 1) * slot_bytes].view(buffer.dtype)
            for k in range(self._walk.slots)
        ]
