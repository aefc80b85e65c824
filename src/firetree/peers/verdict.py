"""Concludes who failed from what ranks say of themselves and of each other.

Pure functions over a *roll*: the latest entry of each rank. `rollcall` gathers it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PeerState = Literal["computes", "waits", "lost", "ended"]
"""Computing; waiting for others; failed because it lost another rank; failed by itself."""

Absence = Literal["gone", "unreachable", "silent"]
"""Why a rank does not answer: its process is gone, its host unreachable, or its process silent."""


_CLEAREST_FIRST: tuple[Absence, ...] = ("gone", "unreachable", "silent")
"""The surest sign first: a busy rank may be silent for a moment."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a rank says of itself.

    `number` is a Lamport clock: it exceeds the numbers of all entries that the rank has heard of.
    `what` says where the rank is, or why it ended. `peer` is the rank that it lost, if it knows;
    `missing` has those that did not answer it.
    """

    number: int
    state: PeerState
    what: str = ""
    peer: int | None = None
    missing: Mapping[int, Absence] = field(default_factory=dict)


Roll = Mapping[int, Entry]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The ranks that failed, and how; none where nobody can tell.

    `cut off`: this rank's own host has no network. `link`: two ranks do not reach each other. `apart`:
    two ranks wait for each other, though they reach each other. `late`: ranks are alive but do not come.
    """

    how: Literal["ended", Absence, "cut off", "link", "apart", "late", "unknown"]
    ranks: tuple[int, ...] = ()
    why: str = ""


def conclude(me: int, roll: Roll, hosts: Mapping[int, str], has_carrier: bool = True) -> Conclusion:
    """Who failed, as rank `me` sees it, whose own entry is `lost`.

    Args:
        me: the rank that asks.
        roll: the latest entry of each rank.
        hosts: the address of each rank's host.
        has_carrier: whether this host's network interface has a carrier.
    """
    if _is_cut_off(roll[me], hosts, hosts[me], has_carrier):
        return Conclusion("cut off", tuple(rank for rank in hosts if hosts[rank] == hosts[me]))
    ended = [rank for rank in roll if roll[rank].state == "ended"]
    if ended:
        first = min(ended, key=lambda rank: (roll[rank].number, rank))
        return Conclusion("ended", (first,), roll[first].what)
    lost = {rank: entry for rank, entry in roll.items() if entry.state == "lost"}
    return (
        _absent(lost) or _at_odds(lost) or _late(roll, accusations(roll)) or Conclusion("unknown")
    )


def waited_for(me: int, roll: Roll, missing: Mapping[int, Absence]) -> tuple[int, ...]:
    """The ranks that `me` waits for; none where a lower rank waits too, which reports it."""
    present = {rank: entry for rank, entry in roll.items() if rank not in missing}
    if any(entry.state == "waits" and rank < me for rank, entry in present.items()):
        return ()
    busy = (rank for rank, entry in present.items() if entry.state == "computes")
    return tuple(sorted({*missing, *busy} - {me}))


def describe(
    verdict: Conclusion,
    me: int,
    accused: Mapping[int, int],
    name: Callable[..., str],
    carrier: str = "",
    within_s: float | None = None,
) -> str:
    """The verdict in words; it adds for whom rank `me` waited, if that is another rank.

    Args:
        verdict: who failed, and how.
        me: the rank that tells it.
        accused: the peer that each rank has lost, where known.
        name: gives the name of ranks.
        carrier: what is wrong with this host's interface; empty if nothing is.
        within_s: how long `me` waited, if it gave up.
    """
    who = name(*verdict.ranks) if verdict.ranks else ""
    in_time = "in time" if within_s is None else f"within {within_s:g} s"
    match verdict.how:
        case "ended":
            text = f"{who} ended: {verdict.why}"
        case "gone":
            text = f"{who} went away"
        case "unreachable":
            text = f"{who} cannot be reached: its host is down, or its network is cut"
        case "silent":
            text = f"{who} did not answer {in_time}: the process is stopped or stuck"
        case "cut off":
            text = f"the network of {who} is cut: {carrier or 'no other host can be reached'}"
        case "link":
            text = f"{who} do not reach each other: the link between them is cut"
        case "apart":
            text = f"{who} did not answer each other {in_time}"
        case "late":
            place = f" at {verdict.why}" if verdict.why else ""
            text = f"{who} did not answer {in_time}, but is alive{place}"
        case "unknown":
            return f"{name(me)} lost another rank"
    return text + _waits(me, verdict.ranks, accused, name)


def _waits(
    me: int, culprits: Iterable[int], accused: Mapping[int, int], name: Callable[..., str]
) -> str:
    """`; rank 0 waited for rank 1, which waited for it`, where rank 0 did not wait for the culprit."""
    peer = accused.get(me)
    if peer is None or me in culprits or peer in culprits:
        return ""
    further = accused.get(peer)
    text = f"; {name(me)} waited for {name(peer)}"
    if further is None or further == me:
        return text
    return f"{text}, which waited for {'it' if further in culprits else name(further)}"


def accusations(roll: Roll) -> dict[int, int]:
    """For each rank that lost a peer, that peer, if it knows."""
    return {
        rank: entry.peer
        for rank, entry in roll.items()
        if entry.state == "lost" and entry.peer is not None
    }


def _is_cut_off(mine: Entry, hosts: Mapping[int, str], my_host: str, has_carrier: bool) -> bool:
    """Whether all other hosts are out of reach; a single one counts only without carrier here."""
    elsewhere = {rank for rank, host in hosts.items() if host != my_host}
    out_of_reach = {rank for rank, how in mine.missing.items() if how == "unreachable"}
    others = {hosts[rank] for rank in elsewhere}
    return bool(elsewhere) and elsewhere <= out_of_reach and (len(others) > 1 or not has_carrier)


def _absent(lost: Roll) -> Conclusion | None:
    """The ranks that the earliest report misses, without those that failed because of another.

    Later reports also miss ranks that were ended after the first failure.
    """
    for reporter in sorted(lost, key=lambda rank: (lost[rank].number, rank)):
        report = lost[reporter]
        unsigned = {rank: how for rank, how in report.missing.items() if rank not in lost}
        woken = {
            rank: how
            for rank, how in report.missing.items()
            if how == "silent" and rank in lost and lost[rank].number > report.number
        }
        absent = unsigned or woken
        if absent:
            how = min(absent.values(), key=_CLEAREST_FIRST.index)
            ranks = tuple(sorted(rank for rank in absent if absent[rank] == how))
            return Conclusion(how, _most_accused(ranks, lost) if how == "silent" else ranks)
    return None


def _at_odds(lost: Roll) -> Conclusion | None:
    """Two live ranks that accuse each other, or do not reach each other."""
    accused = accusations(lost)
    for rank, entry in sorted(lost.items()):
        for other, how in entry.missing.items():
            if how == "unreachable" and rank in lost[other].missing:
                return Conclusion("link", (min(rank, other), max(rank, other)))
    for rank, other in sorted(accused.items()):
        if rank < other and accused.get(other) == rank:
            return Conclusion("apart", (rank, other))
    return None


def _late(roll: Roll, accused: Mapping[int, int]) -> Conclusion | None:
    """Live ranks that do not wait; else the rank at which most chains of accusations end."""
    busy = sorted(rank for rank, entry in roll.items() if entry.state == "computes")
    ranks = _most_accused(busy, roll) if busy else _most_accused(accused.values(), roll)[:1]
    return (
        Conclusion("late", ranks, roll[ranks[0]].what if ranks[0] in roll else "")
        if ranks
        else None
    )


def _most_accused(ranks: Iterable[int], roll: Roll) -> tuple[int, ...]:
    """The ranks at which most chains of accusations end; all of them where no chain does."""
    ranks = sorted({*ranks})
    accused = accusations(roll)
    ends = Counter(end for rank in accused if (end := _end(rank, accused)) in ranks)
    return tuple(rank for rank in ranks if ends[rank] == max(ends.values(), default=0))


def _end(rank: int, accused: Mapping[int, int]) -> int:
    """Follow the accusations from a rank, to one that accuses nobody or was met before."""
    met: set[int] = set()
    while rank in accused and rank not in met:
        met.add(rank)
        rank = accused[rank]
    return rank
