"""From hops to schedules: an algorithm lists which rank sends which chunk to which, and in which order.

Each chunk is reduced along a tree to the rank that *owns* it, and broadcast from there. Unless an
algorithm says otherwise, the broadcast uses the same tree. One list of hops gives all collectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from firetree.collectives.schedule import Collective, Operation, Schedule, recv, recv_reduce, send
from firetree.errors import UserError


class Hop(NamedTuple):
    """At `step`, `sender` sends its `chunk` to `receiver`, which adds it to its own or overwrites it.

    Steps increase strictly along the path of a chunk. Between chunks they only order messages on the same
    channel.
    """

    step: int
    sender: int
    receiver: int
    chunk: int
    adds: bool = True


def there_and_back(chunks: int, sums: Iterable[Hop]) -> list[Hop]:
    """The hops of a reduction, followed by the broadcast along the same tree in reverse order."""
    sums = list(sums)
    last_step = [0] * chunks
    for hop in sums:
        last_step[hop.chunk] = max(last_step[hop.chunk], hop.step)
    back = [
        Hop(2 * last_step[chunk] + 1 - step, receiver, sender, chunk, adds=False)
        for step, sender, receiver, chunk, _ in sums
    ]
    return sums + back


def owners(world_size: int, chunks: int, hops: Iterable[Hop]) -> tuple[int, ...]:
    """For each chunk, the one rank that sends its sum to no other."""
    senders: list[set[int]] = [set() for _ in range(chunks)]
    for hop in hops:
        if hop.adds:
            senders[hop.chunk].add(hop.sender)
    ranks = set(range(world_size))
    return tuple(min(ranks - sent) for sent in senders)


def collective(
    kind: Collective, world_size: int, chunks: int, hops: Sequence[Hop], one_port: bool = False
) -> Schedule:
    """The schedule of a collective from these hops; see `Schedule` for `one_port`.

    `reduce_scatter` leaves each sum with its owner, `all_gather` copies each owner's chunk to all ranks,
    and `all_reduce` does both. `reduce` and `broadcast` are the halves if one rank owns all chunks.

    Raises:
        UserError: `reduce` or `broadcast` if several ranks own chunks.
    """
    owned_by = owners(world_size, chunks, hops)
    if kind in ("reduce", "broadcast") and len(set(owned_by)) > 1:
        half = "reduce_scatter" if kind == "reduce" else "all_gather"
        raise UserError(f"no {kind}: its chunks end on several ranks; expected {half}")
    if kind in ("reduce", "reduce_scatter"):
        hops = [hop for hop in hops if hop.adds]
    elif kind in ("broadcast", "all_gather"):
        hops = [hop for hop in hops if not hop.adds]
    programs: list[list[Operation]] = [[] for _ in range(world_size)]
    for hop in sorted(hops, key=lambda hop: (hop.step, hop.chunk)):
        receive = recv_reduce if hop.adds else recv
        programs[hop.sender].append(send(hop.receiver, hop.chunk))
        programs[hop.receiver].append(receive(hop.sender, hop.chunk))
    return Schedule(world_size, chunks, tuple(map(tuple, programs)), kind, owned_by, one_port)
