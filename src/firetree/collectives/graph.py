"""The one graph that proof, price and run all read: which event of a schedule waits for which.

Every transfer has two events: *moved* (its bytes have left the sender's chunk and lie with the
receiver) and *applied* (they are part of the receiver's chunk). A plain receive writes where the
bytes land, so its two events coincide; a reducing one lands in staging memory, and its addition
takes its turn in the order of the chunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from firetree.collectives.schedule import Operation, Program, Schedule


class ScheduleError(ValueError):
    """A schedule that cannot run or does not compute its collective; names rank and operation."""

    def __init__(self, rank: int, index: int | None, operation: Operation | None, reason: str):
        self.rank, self.index, self.operation, self.reason = rank, index, operation, reason
        where = f"rank {rank}"
        if operation is not None:
            where += f", operation {index} ({operation})"
        super().__init__(f"{where}: {reason}")


class Transfer(NamedTuple):
    """The k-th send of a channel and the receive that it meets, by their indices in the programs."""

    sender: int
    send_index: int
    receiver: int
    receive_index: int
    chunk: int
    reduces: bool


Causes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Transfers of a schedule and the events that each of them waits for.

    Event `2 * t` is "transfer t moved", event `2 * t + 1` is "transfer t applied". Transfer t is
    sent once `before_sending[t]` have happened, may land once `before_landing[t]` have, and is
    applied once it has moved and `before_applying[t]` have happened. `order` is a topological order
    of all events, `level[e]` the number of transfers on the longest way up to event e.
    """

    transfers: tuple[Transfer, ...]
    before_sending: Causes
    before_landing: Causes
    before_applying: Causes
    order: tuple[int, ...]
    level: tuple[int, ...]


def moved(transfer: int) -> int:
    """The event at which the transfer's bytes have left their sender."""
    return 2 * transfer


def applied(transfer: int) -> int:
    """The event at which the transfer's bytes are part of the receiver's chunk."""
    return 2 * transfer + 1


def build_graph(schedule: Schedule) -> Graph:
    """Match sends with receives, bind what must stay in program order, and sort.

    Raises:
        ScheduleError: an operation names a rank or chunk that does not exist, has no counterpart,
            meets another chunk, or waits for itself through others (a deadlock under rendezvous).
    """
    _check_names(schedule)
    transfers = tuple(_match(schedule))
    transfer_at = [[0] * len(program) for program in schedule.programs]
    for number, (sender, send_index, receiver, receive_index, *_) in enumerate(transfers):
        transfer_at[sender][send_index] = transfer_at[receiver][receive_index] = number
    before_sending, before_landing, before_applying = (
        [list[int]() for _ in transfers] for _ in range(3)
    )
    for program, numbers in zip(schedule.programs, transfer_at, strict=True):
        for earlier, later in bindings(program):
            before, after = program[earlier], program[later]
            if after.kind == "send":
                waits = before_sending
            elif after.kind == "recv_reduce" and not share_channel(before, after):
                waits = before_applying
            else:
                waits = before_landing
            event = moved if before.kind == "send" else applied
            waits[numbers[later]].append(event(numbers[earlier]))
        for earlier, later in fan_outs(program) if schedule.one_port else ():
            before_sending[numbers[later]].append(moved(numbers[earlier]))
    sending, landing, applying = map(_freeze, (before_sending, before_landing, before_applying))
    order, level = _sort(schedule, transfers, sending, landing, applying)
    return Graph(transfers, sending, landing, applying, order, level)


def _freeze(waits: list[list[int]]) -> Causes:
    """Each event once, in ascending order."""
    return tuple(
        tuple(causes) if len(causes) < 2 else tuple(sorted(set(causes))) for causes in waits
    )


def _check_names(schedule: Schedule) -> None:
    for rank, program in enumerate(schedule.programs):
        for index, op in enumerate(program):
            if not 0 <= op.peer < schedule.world_size or op.peer == rank:
                reason = f"expected another rank from 0 to {schedule.world_size - 1}"
                raise ScheduleError(rank, index, op, reason)
            if not 0 <= op.chunk < schedule.chunks:
                reason = f"expected a chunk from 0 to {schedule.chunks - 1}"
                raise ScheduleError(rank, index, op, reason)


def _match(schedule: Schedule) -> Iterator[Transfer]:
    sends: dict[tuple[int, int], list[int]] = defaultdict(list)
    receives: dict[tuple[int, int], list[int]] = defaultdict(list)
    for rank, program in enumerate(schedule.programs):
        for index, op in enumerate(program):
            if op.kind == "send":
                sends[rank, op.peer].append(index)
            else:
                receives[op.peer, rank].append(index)
    for sender, receiver in sorted(sends.keys() | receives.keys()):
        outgoing, incoming = sends[sender, receiver], receives[sender, receiver]
        for send_index, receive_index in zip(outgoing, incoming, strict=False):
            sent = schedule.programs[sender][send_index]
            received = schedule.programs[receiver][receive_index]
            if sent.chunk != received.chunk:
                reason = f"meets '{received}', operation {receive_index} of rank {receiver}"
                raise ScheduleError(sender, send_index, sent, reason)
            yield Transfer(
                sender,
                send_index,
                receiver,
                receive_index,
                sent.chunk,
                received.kind == "recv_reduce",
            )
        _refuse_unmatched(schedule, sender, outgoing[len(incoming) :], "no receive meets this send")
        _refuse_unmatched(schedule, receiver, incoming[len(outgoing) :], "nothing is sent for it")


def _refuse_unmatched(schedule: Schedule, rank: int, indices: list[int], reason: str) -> None:
    if indices:
        raise ScheduleError(rank, indices[0], schedule.programs[rank][indices[0]], reason)


def bindings(program: Program) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of operations bound to program order, without those they imply."""
    last_of_channel: dict[tuple[bool, int], int] = {}
    last_write: dict[int, int] = {}
    reads_since: dict[int, list[int]] = defaultdict(list)
    for index, op in enumerate(program):
        sends = op.kind == "send"
        if (sends, op.peer) in last_of_channel:
            yield last_of_channel[sends, op.peer], index
        last_of_channel[sends, op.peer] = index
        if op.chunk in last_write:
            yield last_write[op.chunk], index
        if sends:
            reads_since[op.chunk].append(index)
        else:
            for read in reads_since.pop(op.chunk, ()):
                yield read, index
            last_write[op.chunk] = index


def channels(program: Program) -> list[list[int]]:
    """The operations of each channel, as indices in their order; sends come before receives."""
    indices = defaultdict[tuple[bool, int], list[int]](list)
    for index, op in enumerate(program):
        indices[op.kind != "send", op.peer].append(index)
    return [of_channel for _, of_channel in sorted(indices.items())]


def fan_outs(program: Program) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of sends of one chunk, as it stands, to one rank after another."""
    last_send: dict[int, int] = {}
    for index, op in enumerate(program):
        if op.kind != "send":
            last_send.pop(op.chunk, None)
        else:
            if op.chunk in last_send:
                yield last_send[op.chunk], index
            last_send[op.chunk] = index


def share_channel(one: Operation, other: Operation) -> bool:
    """Whether both go the same way between the same two ranks."""
    return one.peer == other.peer and (one.kind == "send") == (other.kind == "send")


def _sort(
    schedule: Schedule,
    transfers: tuple[Transfer, ...],
    before_sending: Causes,
    before_landing: Causes,
    before_applying: Causes,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    followers: list[list[int]] = [[] for _ in range(2 * len(transfers))]
    missing = [0] * len(followers)
    for i, (sending, landing, applying) in enumerate(
        zip(before_sending, before_landing, before_applying, strict=True)
    ):
        move, apply = moved(i), applied(i)
        missing[move], missing[apply] = len(sending) + len(landing), 1 + len(applying)
        followers[move].append(apply)
        for event, causes in ((move, sending), (move, landing), (apply, applying)):
            for cause in causes:
                followers[cause].append(event)
    level = [1 - event % 2 for event in range(len(followers))]
    order = [event for event, count in enumerate(missing) if count == 0]
    for event in order:
        below = level[event] + 1
        for follower in followers[event]:
            if below - follower % 2 > level[follower]:
                level[follower] = below - follower % 2
            missing[follower] -= 1
            if missing[follower] == 0:
                order.append(follower)
    if len(order) < len(followers):
        stuck = transfers[next(e for e, count in enumerate(missing) if count) // 2]
        op = schedule.programs[stuck.sender][stuck.send_index]
        reason = "waits for itself through other operations: a deadlock"
        raise ScheduleError(stuck.sender, stuck.send_index, op, reason)
    return tuple(order), tuple(level)
