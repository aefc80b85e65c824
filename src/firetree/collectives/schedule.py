"""A collective as data: for each rank, its sends and receives of chunks.

A schedule defines dependencies only, not threads or time. `graph` derives the order, `proof` proves that
it computes the sum and never blocks, `executor` runs it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from firetree.documents import Positive, parse_json
from firetree.errors import UserError
from firetree.shown import Shown

SCHEDULE_VERSION = 2

MOST_CHUNKS = 1 << 16
"""The most chunks of a schedule read from JSON: a short text must not use unlimited memory."""

OpKind = Literal["send", "recv", "recv_reduce"]
Collective = Literal["all_reduce", "reduce", "broadcast", "reduce_scatter", "all_gather"]


class Operation(NamedTuple):
    """One rank's half of a transfer: send a chunk, receive over it, or receive and add to it."""

    kind: OpKind
    peer: int
    chunk: int

    def __str__(self) -> str:
        direction = "to" if self.kind == "send" else "from"
        return f"{self.kind} chunk {self.chunk} {direction} rank {self.peer}"


def send(peer: int, chunk: int) -> Operation:
    """Send the current value of `chunk` to `peer`."""
    return Operation("send", peer, chunk)


def recv(peer: int, chunk: int) -> Operation:
    """Overwrite `chunk` with what `peer` sends."""
    return Operation("recv", peer, chunk)


def recv_reduce(peer: int, chunk: int) -> Operation:
    """Add what `peer` sends to `chunk`."""
    return Operation("recv_reduce", peer, chunk)


Program = tuple[Operation, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Schedule(Shown):
    """Programs of all ranks over a buffer cut into `chunks` near-equal parts.

    Two operations of a rank run in program order only if they share a channel (same peer and direction),
    or a chunk that at least one of them writes. All others may overlap. The k-th send of a channel
    matches its k-th receive. `collective` is what the schedule computes. `owners[k]` is the rank that
    holds the sum of chunk k, or from which the chunk is broadcast. With `one_port`, a rank sends a chunk
    to several ranks one at a time: each transfer starts once the bytes of the one before have left.
    """

    world_size: Positive
    chunks: Positive
    programs: tuple[Program, ...]
    collective: Collective = "all_reduce"
    owners: tuple[int, ...] = ()
    one_port: bool = False

    def __repr__(self) -> str:
        transfers = sum(map(len, self.programs)) // 2
        return (
            f"Schedule({self.collective} on {self.world_size} ranks: "
            f"{self.chunks} chunks, {transfers} transfers)"
        )

    def with_order(self, order: Sequence[int]) -> Schedule:
        """The same schedule with rank `order[k]` in the role of rank k."""
        part_of = {rank: part for part, rank in enumerate(order)}
        programs = tuple(
            tuple(op._replace(peer=order[op.peer]) for op in self.programs[part_of[rank]])
            for rank in range(self.world_size)
        )
        owners = tuple(order[owner] for owner in self.owners)
        return dataclasses.replace(self, programs=programs, owners=owners)

    def to_json(self) -> str:
        """Write all fields and the version; a program is `[[kind, peer, chunk], …]`."""
        return json.dumps({"version": SCHEDULE_VERSION, **dataclasses.asdict(self)})

    @staticmethod
    def from_json(text: str) -> Schedule:
        """Read what `to_json` wrote.

        Raises:
            UserError: the text is not a schedule of this version; names the first fault.
        """
        schedule = parse_json(Schedule, text, "the schedule", SCHEDULE_VERSION)
        if schedule.chunks > MOST_CHUNKS:
            raise UserError(
                f"a schedule of {schedule.chunks} chunks; expected at most {MOST_CHUNKS}"
            )
        if len(schedule.programs) != schedule.world_size:
            raise UserError(
                f"a schedule for {schedule.world_size} ranks with {len(schedule.programs)} programs; "
                "expected one program a rank"
            )
        return schedule


def chunk_bounds(element_count: int, chunks: int) -> list[int]:
    """The bounds of chunks in elements: chunk k is `bounds[k]` to `bounds[k + 1]`.

    Sizes differ by at most one element; with more chunks than elements, some are empty.
    """
    return [element_count * k // chunks for k in range(chunks + 1)]


def busiest_sent_chunks(schedule: Schedule) -> int:
    """The number of chunks that the busiest rank sends."""
    return max(sum(op.kind == "send" for op in program) for program in schedule.programs)
