"""The order in which one thread carries out a rank's program, planned before the first byte moves.

The thread waits for one receive after another, in the order of their levels. Sends need no waiting:
each goes out as soon as the last receive that it depends on is over. Receives are posted ahead, so
that both directions of every link stay busy while the thread waits or adds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from firetree.collectives.graph import Graph, applied, bindings, fan_outs, moved
from firetree.collectives.schedule import Operation, Program, Schedule

WINDOW = 4
"""Receives posted ahead on a channel: enough that the next chunk lands while this one is added."""


@dataclass(frozen=True, slots=True)
class Receive:
    """One receive to wait for; `slot` is its staging slot if it reduces.

    `guarded` says that the chunk's earlier sends must be over before it is posted, `confirmed` that
    its sender waits to hear that it has arrived.
    """

    operation: Operation
    slot: int | None
    guarded: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Send:
    """One send; before the next, a `confirmed` one has arrived."""

    operation: Operation
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """What becomes possible at once: receives to post, by their index, and sends."""

    posts: tuple[int, ...]
    sends: tuple[Send, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """`stages[0]` comes first; then each of `order` is waited for, and the next stage follows it."""

    receives: dict[int, Receive]
    order: tuple[int, ...]
    stages: tuple[Stage, ...]
    slots: int


def plan_walk(schedule: Schedule, graph: Graph, rank: int) -> Walk:
    """Find for each send and each posting of a receive the earliest stage at which it is safe.

    A receive is posted once `WINDOW` earlier ones of its channel are no longer open, and never before
    those: the backend matches messages in the order of posting. One that overwrites its chunk must
    not be posted while the chunk is still read or written, except where its bytes cannot arrive
    before that is over anyway.
    """
    program = schedule.programs[rank]
    transfer_of = _transfers_of(graph, rank)
    receives = [index for index, op in enumerate(program) if op.kind != "send"]
    order = sorted(receives, key=lambda index: (graph.level[applied(transfer_of[index])], index))
    stage_after = {index: place + 1 for place, index in enumerate(order)}
    stage_of = _stages_of_sends(program, stage_after)
    slot_of, slots = _staging_slots(program)
    unsafe = _unsafe_until_over(program, graph, rank, transfer_of)
    earlier, confirmed = _window(program), _confirmed(schedule, graph)
    stage_over = {**stage_after, **stage_of}
    posts: dict[int, list[int]] = defaultdict(list)
    sends: dict[int, list[Send]] = defaultdict(list)
    last_post: dict[int, int] = defaultdict(int)
    for index in receives:
        causes = [stage_over[i] for i in unsafe[index] + earlier[index]]
        peer = program[index].peer
        last_post[peer] = max([last_post[peer], *causes])
        posts[last_post[peer]].append(index)
    for index in sorted(stage_of, key=lambda i: (graph.level[moved(transfer_of[i])], i)):
        sends[stage_of[index]].append(Send(program[index], transfer_of[index] in confirmed))
    stages = tuple(Stage(tuple(posts[k]), tuple(sends[k])) for k in range(len(order) + 1))
    receive_at = {
        i: Receive(program[i], slot_of.get(i), bool(unsafe[i]), transfer_of[i] in confirmed)
        for i in order
    }
    return Walk(receive_at, tuple(order), stages, slots)


def _transfers_of(graph: Graph, rank: int) -> list[int]:
    found = {t.send_index: i for i, t in enumerate(graph.transfers) if t.sender == rank}
    found |= {t.receive_index: i for i, t in enumerate(graph.transfers) if t.receiver == rank}
    return [found[index] for index in range(len(found))]


def _confirmed(schedule: Schedule, graph: Graph) -> set[int]:
    """Transfers that others of the same chunk wait for; both of their ranks know it."""
    if not schedule.one_port:
        return set()
    first = {(r, i) for r, p in enumerate(schedule.programs) for i, _ in fan_outs(p)}
    return {t for t, x in enumerate(graph.transfers) if (x.sender, x.send_index) in first}


def _stages_of_sends(program: Program, stage_after: dict[int, int]) -> dict[int, int]:
    """A send goes out after the last write of its chunk, and not before those of its channel."""
    last_write: dict[int, int] = defaultdict(int)
    last_send: dict[int, int] = defaultdict(int)
    stage_of = {}
    for index, op in enumerate(program):
        if op.kind == "send":
            stage_of[index] = last_send[op.peer] = max(last_write[op.chunk], last_send[op.peer])
        else:
            last_write[op.chunk] = stage_after[index]
    return stage_of


def _staging_slots(program: Program) -> tuple[dict[int, int], int]:
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


def _window(program: Program) -> dict[int, list[int]]:
    """For each receive, the one of its channel `WINDOW` places earlier, if there is one."""
    received: dict[int, list[int]] = defaultdict(list)
    earlier = {}
    for index, op in enumerate(program):
        if op.kind != "send":
            earlier[index] = received[op.peer][-WINDOW : -WINDOW + 1]
            received[op.peer].append(index)
    return earlier


def _unsafe_until_over(
    program: Program, graph: Graph, rank: int, transfer_of: list[int]
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
