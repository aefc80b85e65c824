"""How much a probe measures, and upper bounds of its duration and traffic before it starts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Pair = tuple[int, int]
Link = tuple[str, int]
"""The kind of link, and its host or rack: `("up", 3)`."""

_MOST_PAIR_ROUNDS = 30
_MOST_FANS_AT_ONCE = 8
_STEP_S = 0.03
"""Time of a step beyond its measurement: orders, answers, and draining queues."""
_START_S, _COSTS_S, _PINGS_S = 2.0, 0.3, 0.008
LONE_REPEATS = 3
"""How often a flow alone is measured, to tell whether hosts share a medium."""
OPTIONAL = 0.7
"""Optional measurements only start within this part of the time."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured; in a round of `span_s` a host sends and receives at most `most_bytes`."""

    span_s: float
    most_bytes: int
    pair_rounds: int
    fan_repeats: int
    trial_repeats: int
    pings: int


def effort(hosts: int, brief: bool) -> Effort:
    """The effort for so many hosts; `brief` for a job that has other things to do."""
    most_bytes = 64_000_000 if hosts == 2 else 24_000_000
    pings = 20 if hosts <= 16 else 10
    if brief:
        rounds = min(_MOST_PAIR_ROUNDS, max(6, hosts - 1))
        return Effort(0.12, most_bytes // 2, rounds, 1, 3, pings)
    few = hosts <= 8
    return Effort(
        span_s=0.25 if few else 0.2,
        most_bytes=most_bytes,
        pair_rounds=min(_MOST_PAIR_ROUNDS, max(10, 2 * (hosts - 1))),
        fan_repeats=4 if few else 2,
        trial_repeats=4,
        pings=pings,
    )


def most_seconds(chosen: Effort, hosts: int) -> float:
    """An upper bound of the duration while all hosts answer, in seconds."""
    lone = LONE_REPEATS + 2 * hosts
    streams = chosen.pair_rounds + 1 + lone + _fans(chosen, hosts) + _trials(chosen, hosts)
    pings = hosts * (hosts - 1) / 2 * _PINGS_S
    return _START_S + hosts * _COSTS_S + streams * (chosen.span_s + _STEP_S) + pings


def most_bytes(chosen: Effort, hosts: int) -> int:
    """An upper bound of the bytes that all hosts send together."""
    rounds = chosen.pair_rounds + 1 + _trials(chosen, hosts)
    lone = LONE_REPEATS + 2 * hosts
    return chosen.most_bytes * (rounds * hosts + lone + 4 * _fans(chosen, hosts))


def _fans(chosen: Effort, hosts: int) -> int:
    return 0 if hosts < 3 else hosts * chosen.fan_repeats


def _trials(chosen: Effort, hosts: int) -> int:
    return 0 if hosts < 3 else chosen.trial_repeats * min(3, hosts // 2)


def fans_at_once(hosts: int) -> int:
    """How many hosts can be measured at once where they share no link."""
    return max(1, min(_MOST_FANS_AT_ONCE, hosts // 8))


def loaded_rounds(hosts: Sequence[int], count: int, dice: random.Random) -> Iterator[list[Pair]]:
    """Rounds in which each host sends to one other and receives from one other.

    Each `len(hosts)` − 1 rounds hold every ordered pair once, in a newly drawn order.
    """
    shifts: list[int] = []
    order = [*hosts]
    for _ in range(count):
        if not shifts:
            dice.shuffle(order)
            shifts = dice.sample(range(1, len(order)), len(order) - 1)
        shift = shifts.pop()
        yield [(host, order[(at + shift) % len(order)]) for at, host in enumerate(order)]


def disjoint_rounds(hosts: Sequence[int]) -> Iterator[list[Pair]]:
    """Rounds of pairs without a common host; together they hold every unordered pair once."""
    seats: list[int | None] = [*hosts, *([None] if len(hosts) % 2 else [])]
    for _ in range(len(seats) - 1):
        facing = zip(seats[: len(seats) // 2], reversed(seats), strict=False)
        yield [(a, b) for a, b in facing if a is not None and b is not None]
        seats = [seats[0], seats[-1], *seats[1:-1]]


def within_cores(
    pairs: Sequence[Pair], machine_of: Mapping[int, str], at_once: Mapping[str, int]
) -> Iterator[list[Pair]]:
    """The pairs in parts that each keep at most `at_once` pairs busy on a machine."""
    left = [*pairs]
    while left:
        used: dict[str, int] = {}
        part, rest = list[Pair](), list[Pair]()
        for pair in left:
            machines = {machine_of[host] for host in pair}
            if all(used.get(machine, 0) < at_once[machine] for machine in machines):
                part.append(pair)
                for machine in machines:
                    used[machine] = used.get(machine, 0) + 1
            else:
                rest.append(pair)
        yield part
        left = rest
