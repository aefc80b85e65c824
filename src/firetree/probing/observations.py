"""What the hosts have measured, before anything is concluded from it; hosts go by their ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firetree.probing.costs import Costs
from firetree.probing.effort import Pair
from firetree.probing.racks import RackTrial


@dataclass(slots=True)
class Observations:
    """Rates in bytes a second, times in seconds.

    `rounds` are those in which every host sent to one other and received from one other: the rate of
    each flow. `up` and `down` are what a host alone sent to several others and received from them,
    `echoes_s` the round trips of tiny messages, `ring_message_s` what an end of a message of
    RING_BYTES costs while all hosts send, `alone` the rates of single connections with nothing else on
    their way, `unreachable` the pairs of which the first cannot connect to the second.
    """

    hosts: tuple[int, ...] = ()
    machine_of: dict[int, str] = field(default_factory=dict)
    cores_of: dict[int, int] = field(default_factory=dict)
    costs: dict[int, Costs] = field(default_factory=dict)
    ring_message_s: dict[int, float] = field(default_factory=dict)
    echoes_s: dict[Pair, list[float]] = field(default_factory=dict)
    rounds: list[dict[Pair, float]] = field(default_factory=list)
    up: dict[int, list[float]] = field(default_factory=dict)
    down: dict[int, list[float]] = field(default_factory=dict)
    unreachable: list[Pair] = field(default_factory=list)
    trials: list[RackTrial] = field(default_factory=list)
    alone: dict[Pair, list[float]] = field(default_factory=dict)

    def pair_rates(self) -> dict[Pair, list[float]]:
        """For each ordered pair its rates in loaded rounds."""
        found: dict[Pair, list[float]] = {}
        for flows in self.rounds:
            for pair, rate in flows.items():
                found.setdefault(pair, []).append(rate)
        return found

    def forget(self, lost: set[int]) -> None:
        """Leave out what has to do with hosts that no longer answer."""
        self.hosts = tuple(host for host in self.hosts if host not in lost)
        by_host: tuple[dict[int, Any], ...] = (
            self.costs,
            self.ring_message_s,
            self.up,
            self.down,
        )
        for table in by_host:
            for host in lost & table.keys():
                del table[host]
        self.rounds = [
            {pair: rate for pair, rate in flows.items() if lost.isdisjoint(pair)}
            for flows in self.rounds
        ]
        self.unreachable = [pair for pair in self.unreachable if lost.isdisjoint(pair)]
        self.trials = [trial for trial in self.trials if lost.isdisjoint(trial.hosts)]
