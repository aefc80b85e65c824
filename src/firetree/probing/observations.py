"""What the hosts have measured, before conclusions; hosts are named by their ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firetree.probing.costs import Costs
from firetree.probing.effort import Pair
from firetree.probing.racks import RackTrial


@dataclass(slots=True)
class Observations:
    """Rates in bytes a second, times in seconds.

    `rounds` has the rate of each flow while every host sent to one host and received from one.
    `up` and `down` are rates at which a host alone sent to several others and received from them.
    `echoes_s` are round trips of tiny messages. `ring_message_s` is what an end of a message of
    RING_BYTES costs while all hosts send. `alone` are rates of single connections without other traffic.
    `medium` has what all carried together in each loaded round, if they share a medium.
    `fans` has for each host those with whom it filled its port. `unreachable` are pairs of which the first
    host cannot connect to the second. `wireless` are hosts that others reach over Wi-Fi.
    """

    hosts: tuple[int, ...] = ()
    name_of: dict[int, str] = field(default_factory=dict)
    interface_of: dict[int, str] = field(default_factory=dict)
    wireless: tuple[int, ...] = ()
    machine_of: dict[int, str] = field(default_factory=dict)
    cores_of: dict[int, int] = field(default_factory=dict)
    costs: dict[int, Costs] = field(default_factory=dict)
    ring_message_s: dict[int, float] = field(default_factory=dict)
    echoes_s: dict[Pair, list[float]] = field(default_factory=dict)
    rounds: list[dict[Pair, float]] = field(default_factory=list)
    up: dict[int, list[float]] = field(default_factory=dict)
    down: dict[int, list[float]] = field(default_factory=dict)
    fans: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    unreachable: list[Pair] = field(default_factory=list)
    medium: list[float] = field(default_factory=list)
    trials: list[RackTrial] = field(default_factory=list)
    alone: dict[Pair, list[float]] = field(default_factory=dict)

    def pair_rates(self) -> dict[Pair, list[float]]:
        """For each ordered pair its rates in loaded rounds."""
        rates: dict[Pair, list[float]] = {}
        for flows in self.rounds:
            for pair, rate in flows.items():
                rates.setdefault(pair, []).append(rate)
        return rates

    def forget(self, lost: set[int]) -> None:
        """Leave out measurements that involve hosts which no longer answer."""
        self.hosts = tuple(host for host in self.hosts if host not in lost)
        by_host: tuple[dict[int, Any], ...] = self.costs, self.ring_message_s, self.up, self.down
        for table in by_host:
            for host in lost:
                table.pop(host, None)
        self.rounds = [
            {pair: rate for pair, rate in flows.items() if lost.isdisjoint(pair)}
            for flows in self.rounds
        ]
        self.unreachable = [pair for pair in self.unreachable if lost.isdisjoint(pair)]
        self.trials = [trial for trial in self.trials if lost.isdisjoint(trial.hosts)]
