"""The order in which one thread carries out a rank's program, planned before the first byte moves.

The thread waits for one receive after another, in the order of their levels. Sends need no waiting:
each goes out as soon as the last receive that it depends on is over. Receives are posted ahead, so
that both directions of every link stay busy while the thread waits or adds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from firetree.collectives.graph import Graph, applied, bindings, fan_outs, moved
from firetree.collectives.schedule import Program, Schedule

WINDOW = 4
"""Receives posted ahead on a channel: enough that the next chunk lands while this one is added."""

CONFIRMED_BYTES = 1 << 19
"""Smaller chunks are not confirmed: to hear of their arrival takes as long as sharing the port."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What becomes possible at once: receives to post, sends, and receives to post after those.

    By their indices in the program. Late ones must not be posted while the sends have not left.
    """

    posts: tuple[int, ...]
    sends: tuple[int, ...]
    late_posts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RankOrder:
    """`stages[0]` comes first; then each of `waits` is waited for, and the next stage follows it.

    What is waited for are receives, and sends that are `confirmed`: both of their ranks know that
    the receiver says when they have arrived. `slot_of` has the staging slots of reducing receives,
    `guarded` the receives before whose posting the chunk's earlier sends must be over.
    """

    program: Program
    waits: tuple[int, ...]
    stages: tuple[Stage, ...]
    slot_of: dict[int, int]
    slots: int
    guarded: frozenset[int]
    confirmed: frozenset[int]


def rank_order(schedule: Schedule, graph: Graph, rank: int) -> RankOrder:
    """Find for each send and each posting of a receive the earliest stage at which it is safe.

    A receive is posted once `WINDOW` earlier ones of its channel are no longer open, and never before
    those: the backend matches messages in the order of posting. One that overwrites its chunk must
    not be posted while the chunk is still read or written, except where its bytes cannot arrive
    before that is over anyway.
    """
    program = schedule.programs[rank]
    transfer_of = _transfers_of(graph, rank)
    confirmed = _confirmed(schedule, graph, transfer_of)
    receives = [index for index, op in enumerate(program) if op.kind != "send"]
    # By level, no rank waits for what comes after its peers' own waiting; confirmations, which
    # follow from receives of the same level elsewhere, come last.
    waits = sorted(
        {*receives, *confirmed},
        key=lambda i: (graph.level[applied(transfer_of[i])], program[i].kind == "send", i),
    )
    stage_after = {index: stage for stage, index in enumerate(waits, 1)}
    stage_of = _stages_of_sends(program, stage_after)
    unsafe = _unsafe_until_over(program, graph, rank, transfer_of)
    stage_over = {**stage_after, **stage_of}
    stages = _stages(program, len(waits) + 1, stage_of, stage_over, unsafe)
    slot_of, slots = _staging_slots(program)
    return RankOrder(program, tuple(waits), stages, slot_of, slots, frozenset(unsafe), confirmed)


def _stages(
    program: Program,
    number: int,
    stage_of: dict[int, int],
    stage_over: dict[int, int],
    unsafe: dict[int, list[int]],
) -> tuple[Stage, ...]:
    posts: list[list[int]] = [[] for _ in range(number)]
    sends: list[list[int]] = [[] for _ in range(number)]
    last_post: dict[int, int] = defaultdict(int)
    for index, earlier in _window(program).items():
        peer = program[index].peer
        causes = [stage_over[i] for i in [*unsafe.get(index, ()), *earlier]]
        last_post[peer] = max([last_post[peer], *causes])
        posts[last_post[peer]].append(index)
    for index, stage in stage_of.items():
        sends[stage].append(index)
    stages = []
    for posted, sent in zip(posts, sends, strict=True):
        late = next((k for k, index in enumerate(posted) if index in unsafe), len(posted))
        stages.append(Stage(tuple(posted[:late]), tuple(sent), tuple(posted[late:])))
    return tuple(stages)


def _transfers_of(graph: Graph, rank: int) -> list[int]:
    found = {t.send_index: i for i, t in enumerate(graph.transfers) if t.sender == rank}
    found |= {t.receive_index: i for i, t in enumerate(graph.transfers) if t.receiver == rank}
    return [found[index] for index in range(len(found))]


def _confirmed(schedule: Schedule, graph: Graph, transfer_of: list[int]) -> frozenset[int]:
    """Where in the program are halves of transfers that others of the same chunk wait for."""
    if not schedule.one_port:
        return frozenset()
    first = {(r, i) for r, p in enumerate(schedule.programs) for i, _ in fan_outs(p)}
    transfers = {t for t, x in enumerate(graph.transfers) if (x.sender, x.send_index) in first}
    return frozenset(index for index, t in enumerate(transfer_of) if t in transfers)


def _stages_of_sends(program: Program, stage_after: dict[int, int]) -> dict[int, int]:
    """A send goes out after the last write of its chunk, and not before those of its channel.

    Where the send of its chunk before it is confirmed, it waits for that as well.
    """
    last_write: dict[int, int] = defaultdict(int)
    last_send: dict[int, int] = defaultdict(int)
    stage_of = {}
    for index, op in enumerate(program):
        if op.kind == "send":
            stage_of[index] = last_send[op.peer] = max(last_write[op.chunk], last_send[op.peer])
        if index in stage_after:
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
    """For each receive, the one of its channel that comes `WINDOW` earlier, if there is one."""
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
