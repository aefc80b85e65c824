"""What a run's ranks bring against one of them alone, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from firetree.models.profile import Profile
from firetree.network.network import Network
from firetree.network.units import format_duration
from firetree.planning.plan import Plan, Prices, make_plan

CLEARLY = 1.05
"""A predicted speed-up is off by 5 % at most."""

_SLOW = 2.0
"""A host may be better left out where its port is this many times slower than the fastest."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a step of all ranks takes; a speed-up counts samples a second against one rank alone.

    `without` are the slow ranks, and `speedup_without` is that of all others; empty, and 0, where no rank
    is slow.
    """

    world_size: int
    step_s: float
    compute_s: float
    algorithm: str
    without: tuple[int, ...] = ()
    speedup_without: float = 0.0

    @property
    def speedup(self) -> float:
        return self.world_size * self.compute_s / self.step_s

    @property
    def is_slower(self) -> bool:
        """Whether fewer ranks, or one alone, are clearly faster."""
        return max(1.0, self.speedup_without) > CLEARLY * self.speedup

    def __str__(self) -> str:
        """One sentence."""
        said = (
            f"{self.world_size} workers: {format_duration(self.step_s)} a step, {self.speedup:.2f} "
            f"workers' worth, the largest buckets by {self.algorithm}"
        )
        if not self.is_slower:
            return said
        if self.speedup_without > 1.0:
            ranks = ", ".join(map(str, self.without))
            many = "ranks" if len(self.without) > 1 else "rank"
            return (
                f"{said}; without {many} {ranks}, whose links are slow: {self.speedup_without:.2f}"
            )
        return f"{said}; one worker alone is {1 / self.speedup:.2g} times as fast"


def outlook(plan: Plan, profile: Profile, network: Network) -> Outlook:
    """What a plan for all hosts of a network brings, and what it would without the slow ones."""
    slow = _slow_hosts(network)
    found = Outlook(plan.world_size, plan.step_s, plan.compute_s, plan.algorithm)
    others = [host for host in range(network.size) if host not in slow]
    if not slow or len(others) < 2:
        return found
    fewer = make_plan(plan.model, profile, Prices(network.of(others)))
    speedup = len(others) * fewer.compute_s / fewer.step_s
    return Outlook(plan.world_size, plan.step_s, plan.compute_s, plan.algorithm, slow, speedup)


def _slow_hosts(network: Network) -> tuple[int, ...]:
    ports = [min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts]
    return tuple(host for host, port in enumerate(ports) if _SLOW * port < max(ports))
