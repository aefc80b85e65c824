"""Time that belongs to no step: between two steps, or in one in which a rank stood still."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from firetree.network.units import format_duration
from firetree.reporting.rounds import StepTable, Times, follows
from firetree.reporting.stretches import Segment, network_s, typical_s
from firetree.reporting.thresholds import BLAMED_SHARE, GAP_S, GAP_STEPS, IDLE_SHARE
from firetree.reporting.values import Gap
from firetree.trace import Event

_STILL = ("forward_s", "backward_s", "optimizer_s", "other_s")
"""Parts that a rank computes in; in all others it may wait for a disk or another program."""


def gaps_of(
    rounds: StepTable,
    segments: Sequence[Segment],
    events: Sequence[Event],
    host: Callable[[int], str],
) -> tuple[list[Gap], Times]:
    """The gaps, and for each round whether it is kept apart from its stretch (K, 1 or 0).

    Args:
        host: what the host of a rank is called.
    """
    found, apart = list[Gap](), np.zeros(len(rounds.steps))
    times_s, paused = typical_s(rounds), _pauses(rounds, events)
    for segment in segments:
        usual_s = float(np.median(times_s[segment.first : segment.end]))
        typical = _Typical(rounds.between(segment.first, segment.end))
        for k in range(segment.first, segment.end):
            before, inside = None, None
            if is_long(max(paused.get(k, {}).values(), default=0.0), usual_s):
                inside = _paused(rounds, k, typical, paused[k], host)
            if not segment.is_start:
                before = _between(rounds, k, usual_s, events)
                if inside is None and is_long(times_s[k] - usual_s, usual_s):
                    inside = _within(rounds, k, typical, host)
            found += filter(None, (before, inside))
            apart[k] = inside is not None
    return found, apart


def is_long(seconds: float, typical: float) -> bool:
    """Whether a person would notice so long a wait between steps that take `typical` seconds."""
    return seconds >= max(GAP_S, GAP_STEPS * typical)


class _Typical:
    """The median of each part of each rank's work, of its CPU time, and of what the network takes."""

    def __init__(self, rounds: StepTable):
        self.parts = {name: np.median(values, axis=0) for name, values in rounds.work.items()}
        self.cpu_s = np.median(rounds.cpu_s, axis=0)
        self.network_s = float(np.median(network_s(rounds)))

    def lost(self, rounds: StepTable, k: int) -> tuple[dict[str, Times], Times, float]:
        """What each rank's work took longer in a round, by part and in all; and the network."""
        lost = {name: rounds.work[name][k] - self.parts[name] for name in rounds.work}
        lost_s: Times = np.sum([*lost.values()], axis=0)
        return lost, lost_s, float(network_s(rounds)[k]) - self.network_s


def _between(rounds: StepTable, k: int, usual_s: float, events: Sequence[Event]) -> Gap | None:
    """What lies between a round and the one before, on the rank with the least of it."""
    if k == 0:
        return None
    before, after = rounds.steps[k - 1], rounds.steps[k]
    if not follows(before, after):
        return None
    ended_s = [step.start_s + step.step_s for step in before]
    seconds = min(step.start_s - end_s for step, end_s in zip(after, ended_s, strict=True))
    if not is_long(seconds, usual_s):
        return None
    told = [event.text for event in events if min(ended_s) <= event.at_s <= after[0].start_s]
    return Gap(after[0].step, ended_s[0], float(seconds), "; ".join(told) or "between two steps")


def _within(rounds: StepTable, k: int, typical: _Typical, host: Callable[[int], str]) -> Gap | None:
    """Which rank stood still in a round; None where one worked for longer, which is no gap."""
    one = rounds.steps[k]
    lost, lost_s, waited_s = typical.lost(rounds, k)
    rank = int(lost_s.argmax())
    if lost_s[rank] < waited_s:
        return _in_a_sum(rounds, k, waited_s, host)
    part = max(lost, key=lambda name: float(lost[name][rank]))
    used_s = float(rounds.cpu_s[k, rank] - typical.cpu_s[rank])
    if part not in _STILL or (rounds.cpu_s.any() and used_s > IDLE_SHARE * lost_s[rank]):
        return None
    others_s = np.delete(lost_s, rank)
    if others_s.size and others_s.min() > BLAMED_SHARE * lost_s[rank]:
        return Gap(one[0].step, one[0].start_s, float(lost_s[rank]), "all hosts stood still")
    return _still(rounds, k, rank, float(lost_s[rank]), host)


def _still(rounds: StepTable, k: int, rank: int, seconds: float, host: Callable[[int], str]) -> Gap:
    step, name = rounds.steps[k][rank], host(rank)
    text = f"{name} stood still for {format_duration(seconds)}"
    return Gap(step.step, step.start_s, seconds, text, rank, name)


def _pauses(rounds: StepTable, events: Sequence[Event]) -> Mapping[int, Mapping[int, float]]:
    """For each round the ranks that say that they did not run in it, and for how long."""
    found = defaultdict[int, dict[int, float]](dict)
    for event in events:
        if event.kind == "paused" and event.rank is not None and event.rank < len(rounds.steps[0]):
            k = _round_at(rounds, event.rank, event.at_s - event.seconds / 2)
            if k is not None:
                found[k][event.rank] = max(event.seconds, found[k].get(event.rank, 0.0))
    return found


def _round_at(rounds: StepTable, rank: int, at_s: float) -> int | None:
    """The round in which a moment of a rank counts: after a step's sums, that is the next one."""
    k = int(np.searchsorted([one[rank].start_s for one in rounds.steps], at_s, side="right")) - 1
    if k < 0:
        return None
    step = rounds.steps[k][rank]
    ends_s = [it.end_s for it in step.passes] + [it.end_s for it in step.buckets]
    summed_s = max(ends_s, default=at_s)
    return min(k + (at_s > summed_s), len(rounds.steps) - 1)


def _paused(
    rounds: StepTable,
    k: int,
    typical: _Typical,
    still_s: Mapping[int, float],
    host: Callable[[int], str],
) -> Gap | None:
    """Who stood still in a round, as ranks say; None where that did not delay it."""
    _, lost_s, waited_s = typical.lost(rounds, k)
    rank = max(still_s, key=still_s.__getitem__)
    seconds = max(waited_s, float(lost_s.max()))
    if seconds < BLAMED_SHARE * still_s[rank]:
        return None
    return _all_or_one(rounds, k, still_s, seconds, host)


def _all_or_one(
    rounds: StepTable,
    k: int,
    still_s: Mapping[int, float],
    seconds: float,
    host: Callable[[int], str],
) -> Gap:
    """The rank that stood still for longest, or all of several that did for most of the time that was lost."""
    one = rounds.steps[k]
    if len(still_s) == len(one) > 1 and min(still_s.values()) >= BLAMED_SHARE * seconds:
        start_s = min(step.start_s for step in one)
        return Gap(one[0].step, start_s, seconds, "all hosts stood still")
    return _still(rounds, k, max(still_s, key=still_s.__getitem__), seconds, host)


def _in_a_sum(rounds: StepTable, k: int, seconds: float, host: Callable[[int], str]) -> Gap:
    """Everybody waited in a sum: for a rank whose kernel took no more bytes, if there is one."""
    one = rounds.steps[k]
    held_s = dict(_full_windows(rounds, k))
    if held_s and max(held_s.values()) >= BLAMED_SHARE * seconds:
        return _all_or_one(rounds, k, held_s, seconds, host)
    text = f"all ranks waited {format_duration(seconds)} longer in a sum"
    return Gap(one[0].step, min(step.start_s for step in one), seconds, text)


def _full_windows(rounds: StepTable, k: int) -> Iterator[tuple[int, float]]:
    """For each rank how long another one could send it nothing, as it took nothing."""
    owners = {
        connection.local: rank
        for rank, step in enumerate(rounds.steps[k])
        for connection in step.connections
    }
    held_s = dict[int, float]()
    for step in rounds.steps[k]:
        ends = [(owners.get(it.remote), it.tcp) for it in step.connections]
        ends += [(wire.peer, wire.tcp) for wire in step.wires]
        for peer, tcp in ends:
            if peer is not None:
                held_s[peer] = max(held_s.get(peer, 0.0), tcp.rwnd_limited_s or 0.0)
    yield from held_s.items()
