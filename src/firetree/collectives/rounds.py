"""A rank's program as rounds: one grouped call sends and receives all of a level of the graph.

NCCL needs this, as its point-to-point calls overlap only within a group.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from firetree.collectives.graph import Graph, applied, moved
from firetree.collectives.schedule import Operation, recv, recv_reduce, send


@dataclass(frozen=True, slots=True)
class ExchangeRound:
    """The transfers of one grouped call, each with a staging slot if it reduces, and then additions.

    `additions` are (chunk, slot) in the order of each chunk's sum.
    """

    transfers: tuple[tuple[Operation, int | None], ...]
    additions: tuple[tuple[int, int], ...]


def plan_rounds(graph: Graph, rank: int) -> tuple[tuple[ExchangeRound, ...], int]:
    """The rounds of a rank, and the number of staging slots; a slot is reused after its addition."""
    mine = [t for t, x in enumerate(graph.transfers) if rank in (x.sender, x.receiver)]
    slot_of = _staging_slots(graph, rank)
    turn = {event: index for index, event in enumerate(graph.order)}
    transfers: dict[int, list[tuple[Operation, int | None]]] = defaultdict(list)
    additions: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for t in mine:  # both sides of a channel go through its transfers in the same order
        transfers[graph.level[moved(t)]].append((_operation(graph, t, rank), slot_of.get(t)))
    for t in sorted(slot_of, key=lambda t: turn[applied(t)]):
        additions[graph.level[applied(t)]].append((graph.transfers[t].chunk, slot_of[t]))
    levels = sorted(transfers.keys() | additions.keys())
    rounds = tuple(ExchangeRound(tuple(transfers[k]), tuple(additions[k])) for k in levels)
    return rounds, max(slot_of.values(), default=-1) + 1


def _operation(graph: Graph, t: int, rank: int) -> Operation:
    transfer = graph.transfers[t]
    if transfer.sender == rank:
        return send(transfer.receiver, transfer.chunk)
    receive = recv_reduce if transfer.reduces else recv
    return receive(transfer.sender, transfer.chunk)


def _staging_slots(graph: Graph, rank: int) -> dict[int, int]:
    """A slot for each reducing receive, reused after the round of its addition."""
    reducing = [t for t, x in enumerate(graph.transfers) if x.receiver == rank and x.reduces]
    slot_of: dict[int, int] = {}
    free_after: list[int] = []
    for t in sorted(reducing, key=lambda t: graph.level[moved(t)]):
        landing, adding = graph.level[moved(t)], graph.level[applied(t)]
        slot = next((k for k, last in enumerate(free_after) if last < landing), len(free_after))
        free_after[slot : slot + 1] = [adding]
        slot_of[t] = slot
    return slot_of
