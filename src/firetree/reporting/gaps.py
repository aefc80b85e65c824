"""Time that belongs to no step: between two steps, or in one in which a rank stood still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from firetree.network.units import format_duration
from firetree.reporting.rounds import StepTable, Times, follows
from firetree.reporting.stretches import Segment, network_s, typical_s
from firetree.reporting.thresholds import BLAMED_SHARE, GAP_S, GAP_STEPS, IDLE_SHARE, STILL_TOLD_S
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
    times_s = typical_s(rounds)
    for segment in segments:
        inside = slice(segment.first, segment.end)
        usual_s = float(np.median(times_s[inside]))
        if segment.is_start:
            continue
        typical = _Typical(rounds.between(segment.first, segment.end))
        for k in range(segment.first, segment.end):
            if gap := _between(rounds, k, usual_s, events):
                found.append(gap)
            is_slow = is_long(times_s[k] - usual_s, usual_s)
            if is_slow and (gap := _within(rounds, k, typical, events, host)):
                found.append(gap)
                apart[k] = 1.0
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


def _within(
    rounds: StepTable,
    k: int,
    typical: _Typical,
    events: Sequence[Event],
    host: Callable[[int], str],
) -> Gap | None:
    """Which rank stood still in a round; None where one worked for longer, which is no gap."""
    one = rounds.steps[k]
    lost = {name: rounds.work[name][k] - typical.parts[name] for name in rounds.work}
    lost_s = np.sum([*lost.values()], axis=0)
    waited_s = float(network_s(rounds)[k]) - typical.network_s
    paused_s = _paused(rounds, k, events)
    if _all_of_them(paused_s, rounds, max(waited_s, float(lost_s.max()))):
        return Gap(one[0].step, one[0].start_s, max(paused_s.values()), "all hosts stood still")
    rank = int(lost_s.argmax())
    if lost_s[rank] < waited_s:
        return _in_a_sum(rounds, k, waited_s, paused_s, host)
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


def _paused(rounds: StepTable, k: int, events: Sequence[Event]) -> dict[int, float]:
    """The ranks that say that they did not run in this round, and for how long."""
    one = rounds.steps[k]
    start_s = min(step.start_s for step in one)
    return {
        event.rank: event.seconds
        for event in events
        if event.kind == "paused"
        and event.rank is not None
        and start_s < event.at_s < start_s + one[0].step_s + STILL_TOLD_S
    }


def _all_of_them(still_s: Mapping[int, float], rounds: StepTable, seconds: float) -> bool:
    """Whether every rank, of several, stood still for most of the time that was lost."""
    ranks = len(rounds.steps[0])
    return len(still_s) == ranks > 1 and min(still_s.values()) >= BLAMED_SHARE * seconds


def _in_a_sum(
    rounds: StepTable,
    k: int,
    seconds: float,
    paused_s: Mapping[int, float],
    host: Callable[[int], str],
) -> Gap:
    """Everybody waited in a sum: for the rank that was paused, or whose kernel took no more bytes."""
    one = rounds.steps[k]
    start_s = min(step.start_s for step in one)
    for known_s in (paused_s, dict(_full_windows(rounds, k))):
        if known_s and max(known_s.values()) >= BLAMED_SHARE * seconds:
            if _all_of_them(known_s, rounds, seconds):
                return Gap(one[0].step, start_s, seconds, "all hosts stood still")
            return _still(rounds, k, max(known_s, key=known_s.__getitem__), seconds, host)
    text = f"all ranks waited {format_duration(seconds)} longer in a sum"
    return Gap(one[0].step, start_s, seconds, text)


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
