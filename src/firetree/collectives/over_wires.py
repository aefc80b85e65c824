"""Carry a schedule out over wires: one thread moves whatever can move, and else sleeps.

On each wire and in each direction, operations follow the program. The first one goes on as soon as
those are over that the schedule binds it to; nothing else is planned beforehand. A chunk that is added
comes in pieces: one is added from the cache while the kernel takes in the next.

    tensor ─ sendmsg ─► kernel ═ network ═► kernel ─ recvmsg ─► tensor          (recv)
                                                   └ recvmsg ─► piece ─ add ─► tensor   (recv_reduce)

A message is a header and a chunk. The header has a number and a size, so that ranks that are out of
step stop instead of adding what belongs elsewhere.
"""

from __future__ import annotations

import select
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from firetree.collectives.graph import bindings, channels, fan_outs, share_channel
from firetree.collectives.schedule import Operation, Program, Schedule, chunk_bounds
from firetree.errors import CollectiveError
from firetree.wires import Mesh, Wire, WireClosedError

Reduction = Callable[[Tensor, Tensor], object]
"""Combines the first tensor, in place, with the second."""

PIECE_BYTES = 1 << 17
"""What is received and added at a time: it stays in a core's cache, and one core adds it."""

WAKE_BYTES = 1 << 20
"""A sleeping thread wakes once so much has come: a link of 1 Gbit/s takes 8 ms for it."""

_HEADER = struct.Struct("=QQ")
"""The number of the message on its way between two ranks, and the bytes of the chunk."""
_SLEEP_MS = 100


class OverWires:
    """Follows a rank's program, again and again.

    Args:
        schedule: proved; its world size is the mesh's.
        mesh: used by nobody else while a run is under way.
    """

    def __init__(self, schedule: Schedule, mesh: Mesh):
        self._mesh, self._chunks = mesh, schedule.chunks
        self._program = schedule.programs[mesh.rank]
        self._followers, self._causes = _order(self._program, schedule.one_port)
        self._lanes = _lanes(self._program, mesh, schedule.one_port)
        self._one_port = schedule.one_port
        self._outgoing = {mesh.wires[op.peer] for op in self._program if op.kind == "send"}

    def carry(self, buffer: Tensor, reduce: Reduction = Tensor.add_) -> list[list[float]]:
        """Follow the program once, on a contiguous buffer with one axis.

        `reduce` combines a part of the buffer, in place, with what was received.

        Returns:
            For each of `graph.channels`, two moments of each of its operations, in seconds of the
            monotonic clock: just before its first bytes moved, and when it was over.

        Raises:
            CollectiveError: a rank went away, is silent for too long, or is out of step; or a collective
                on these wires was broken off before.
        """
        with self._mesh.collective():
            self._carry(buffer, reduce)
        return [lane.moments_s for lane in self._lanes]

    def _carry(self, buffer: Tensor, reduce: Reduction) -> None:
        causes, chunks = [*self._causes], _Chunks(buffer, self._chunks, reduce)
        for wire in self._outgoing:
            wire.limit_unsent(self._one_port)
        for lane in self._lanes:
            lane.begin(chunks)
        busy, quiet_since_s = self._lanes, None
        while busy:
            moved = [self._advance(lane, causes) for lane in busy]
            if any(moved):
                busy, quiet_since_s = [lane for lane in busy if not lane.is_done], None
            else:
                quiet_since_s = quiet_since_s or time.monotonic()
                self._sleep([lane for lane in busy if not causes[lane.head]], quiet_since_s)

    def _advance(self, lane: _Lane, causes: list[int]) -> bool:
        """Move what can move on a lane; whether anything did."""
        moved = False
        try:
            while not lane.is_done and not causes[lane.head] and lane.move():
                moved = True
                if lane.is_over:
                    for follower in self._followers[lane.head]:
                        causes[follower] -= 1
                    lane.end()
        except WireClosedError as error:
            raise self._lost(lane, "went away", None) from error
        except _OutOfStepError as error:
            raise self._lost(lane, str(error), None) from error
        return moved

    def _sleep(self, lanes: Sequence[_Lane], quiet_since_s: float) -> None:
        """Wait until one of these can move."""
        if time.monotonic() - quiet_since_s > self._mesh.timeout_s:
            within_s = self._mesh.timeout_s
            silent = next((lane for lane in lanes if isinstance(lane, _Receiving)), lanes[0])
            raise self._lost(silent, f"did not answer within {within_s:g} s", within_s)
        poll, events = select.poll(), defaultdict[int, int](int)
        for lane in lanes:
            lane.prepare_sleep()
            events[lane.descriptor] |= lane.event
        for descriptor, event in events.items():
            poll.register(descriptor, event)
        seen = dict(poll.poll(_SLEEP_MS))
        for lane in lanes:
            event = seen.get(lane.descriptor, 0)
            if lane.event & event & (select.POLLRDHUP | select.POLLHUP):
                raise self._lost(lane, "went away", None)
            if event & select.POLLERR:
                lane.wire.have_left()

    def _lost(self, lane: _Lane, what: str, within_s: float | None) -> CollectiveError:
        op, names = self._program[lane.head], self._mesh.names
        peer, rank = names[op.peer], names[self._mesh.rank]
        where = f"rank {rank} was at {op._replace(peer=peer)}, {self._chunks} chunks"
        return CollectiveError(f"rank {peer} {what} ({where})", peer, where, within_s)


class _OutOfStepError(Exception):
    pass


class _Chunks:
    """A buffer, its bytes, where its chunks begin, in elements, and what combines two."""

    def __init__(self, buffer: Tensor, number: int, reduce: Reduction):
        self.buffer, self.bytes, self.reduce = buffer, _bytes_of(buffer), reduce
        self.bounds, self.item_bytes = chunk_bounds(buffer.numel(), number), buffer.element_size()


class _Lane:
    """One direction of a wire: its operations during a run, and how far the first of them is.

    `head` is that operation's index in the program, and `is_over` whether all its bytes have passed.
    """

    descriptor = event = 0
    """What `select.poll` takes to wait for it."""

    def __init__(self, wire: Wire, operations: Sequence[tuple[int, Operation]]):
        self.wire, self._operations = wire, operations
        self._header = bytearray(_HEADER.size)
        self._header_bytes = memoryview(self._header)
        self._start_s = 0.0

    def begin(self, chunks: _Chunks) -> None:
        self._chunks, self._number = chunks, -1
        self.moments_s: list[float] = []
        self._next()

    @property
    def is_done(self) -> bool:
        return self._number == len(self._operations)

    def end(self) -> None:
        """Note when the operation moved, and begin the next one."""
        self.moments_s += (self._start_s, time.monotonic())
        self._next()

    def _next(self) -> None:
        """Begin the next operation, if there is one."""
        self._number += 1
        if not self.is_done:
            self.head, operation = self._operations[self._number]
            self._begin(operation)

    def _begin(self, operation: Operation) -> None:
        chunks, chunk = self._chunks, operation.chunk
        self._first, end = chunks.bounds[chunk], chunks.bounds[chunk + 1]
        begin_bytes, end_bytes = self._first * chunks.item_bytes, end * chunks.item_bytes
        self._bytes = chunks.bytes[begin_bytes:end_bytes]
        self._size_bytes = end_bytes - begin_bytes
        self._passed_bytes = -_HEADER.size  # so that the chunk begins at 0
        self.is_over = False

    def move(self) -> bool:
        """Let bytes pass; whether any did."""
        raise NotImplementedError

    def prepare_sleep(self) -> None:
        """Before this thread sleeps until the lane can move."""

    def _pass(self, count: int) -> bool:
        self._passed_bytes += count
        self.is_over = self._passed_bytes == self._size_bytes
        return count > 0


class _Sending(_Lane):
    def __init__(
        self, wire: Wire, operations: Sequence[tuple[int, Operation]], awaited: Collection[int]
    ):
        super().__init__(wire, operations)
        self.descriptor, self._awaited = wire.outgoing.fileno(), awaited

    def _begin(self, operation: Operation) -> None:
        super()._begin(operation)
        self.wire.sent += 1
        _HEADER.pack_into(self._header, 0, self.wire.sent, self._size_bytes)

    def move(self) -> bool:
        passed, in_turn = self._passed_bytes, self.head in self._awaited
        if passed == self._size_bytes:  # the kernel has all of it
            self.is_over = self.wire.have_left()
            return self.is_over
        parts = [self._bytes[max(passed, 0) :]]
        if passed < 0:
            self._start_s = time.monotonic()
            parts.insert(0, self._header_bytes[passed:])
        moved = self._pass(self.wire.send(*parts, in_turn=in_turn))
        self.is_over = self.is_over and (not in_turn or self.wire.have_left())
        return moved

    def prepare_sleep(self) -> None:
        """Who ends its side before it has all takes no more; what leaves the kernel comes as POLLERR."""
        is_taken = self._passed_bytes == self._size_bytes
        self.event = select.POLLHUP if is_taken else select.POLLOUT | select.POLLRDHUP


class _Receiving(_Lane):
    event = select.POLLIN

    def __init__(self, wire: Wire, operations: Sequence[tuple[int, Operation]]):
        super().__init__(wire, operations)
        self.descriptor = wire.incoming.fileno()
        self._piece = torch.empty(0, dtype=torch.uint8)

    def begin(self, chunks: _Chunks) -> None:
        needed = min(PIECE_BYTES, chunks.bytes.nbytes)
        if self._piece.nbytes < needed:
            self._piece = torch.empty(needed, dtype=torch.uint8)
        self._piece_bytes = _bytes_of(self._piece)
        item_bytes = chunks.item_bytes
        whole = self._piece.nbytes // item_bytes * item_bytes
        self._typed_piece = self._piece[:whole].view(chunks.buffer.dtype)
        super().begin(chunks)

    def _begin(self, operation: Operation) -> None:
        super()._begin(operation)
        self.wire.received += 1
        self._adds = operation.kind == "recv_reduce"
        self._added_bytes = 0

    def move(self) -> bool:
        passed, target = self._passed_bytes, self._target()
        if passed < 0:
            self._start_s = time.monotonic()
            count = self.wire.receive(self._header_bytes[passed:], target)
        else:
            count = self.wire.receive(target)
        moved = self._pass(count)
        if passed < 0 <= self._passed_bytes:
            self._check()
        if moved and self._adds:
            self._add()
        return moved

    def prepare_sleep(self) -> None:
        """Wake for much, or the rest of the chunk, and not for each packet."""
        self.wire.wake_at(min(self._size_bytes - self._passed_bytes, WAKE_BYTES))

    def _target(self) -> memoryview:
        """Where the next bytes go."""
        begin = max(self._passed_bytes, 0)
        if not self._adds:
            return self._bytes[begin:]
        end = min(self._added_bytes + len(self._piece_bytes), self._size_bytes)
        return self._piece_bytes[begin - self._added_bytes : end - self._added_bytes]

    def _add(self) -> None:
        """Add the piece once it is full, or ends the chunk."""
        length = self._passed_bytes - self._added_bytes
        if length <= 0 or (length < len(self._piece_bytes) and not self.is_over):
            return
        item_bytes = self._chunks.item_bytes
        first, count = self._first + self._added_bytes // item_bytes, length // item_bytes
        target, piece = self._chunks.buffer.narrow(0, first, count), self._typed_piece
        self._chunks.reduce(target, piece.narrow(0, 0, count))
        self._added_bytes = self._passed_bytes

    def _check(self) -> None:
        header, due = _HEADER.unpack(self._header), (self.wire.received, self._size_bytes)
        if header != due:
            raise _OutOfStepError(
                f"sent message {header[0]} of {header[1]} bytes where message {due[0]} of {due[1]} bytes "
                "was due: it is out of step"
            )


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().view(torch.uint8).numpy())  # type: ignore[arg-type]


def _lanes(program: Program, mesh: Mesh, one_port: bool) -> list[_Lane]:
    awaited = {earlier for earlier, _ in fan_outs(program)} if one_port else set[int]()
    lanes: list[_Lane] = []
    for indices in channels(program):
        operations = [(index, program[index]) for index in indices]
        kind, peer, _ = program[indices[0]]
        wire = mesh.wires[peer]
        lanes.append(
            _Sending(wire, operations, awaited) if kind == "send" else _Receiving(wire, operations)
        )
    return lanes


def _order(program: Program, one_port: bool) -> tuple[list[list[int]], list[int]]:
    """For each operation those that wait for it, and how many it waits for; its own lane aside.

    With `one_port`, a send waits for the one of the same chunk before it, until that one's bytes have
    left the kernel.
    """
    followers: list[list[int]] = [[] for _ in program]
    causes = [0] * len(program)
    pairs = {*bindings(program), *(fan_outs(program) if one_port else ())}
    for earlier, later in pairs:
        if not share_channel(program[earlier], program[later]):
            followers[earlier].append(later)
            causes[later] += 1
    return followers, causes
