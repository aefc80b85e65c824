"""What 1, 2 … hosts of a network bring: for each number those that should be fastest together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from firetree.models.profile import Profile
from firetree.network.network import Network
from firetree.planning.plan import BUCKETS_BYTES, Plan, Prices, make_plan
from firetree.planning.step import step
from firetree.planning.subsets import Subset, estimated_sum_s, fastest_subsets
from firetree.progress import Progress

CLEARLY = 1.05
"""A predicted speed-up is off by 5 % at most."""

_ALL_WORLD_SIZES = 8
"""Up to so many hosts, each number of them is priced."""


@dataclass(frozen=True, slots=True)
class ForecastPoint:
    """What a step takes on these hosts, each with as many samples as one host alone.

    `speedup` is the number of samples a second against one host's, `efficiency` that over the hosts.
    """

    world_size: int
    hosts: Subset
    step_s: float
    speedup: float
    efficiency: float
    algorithm: str
    limited_by: str


@dataclass(frozen=True, slots=True)
class PricedSubset:
    """Hosts that may train together, the prices on their network, and the plan for them.

    Rank r of the plan is `hosts[r]`.
    """

    hosts: Subset
    prices: Prices
    plan: Plan

    @property
    def efficiency(self) -> float:
        return self.plan.compute_s / self.plan.step_s

    @property
    def speedup(self) -> float:
        return len(self.hosts) * self.efficiency

    @property
    def point(self) -> ForecastPoint:
        return ForecastPoint(
            len(self.hosts),
            self.hosts,
            self.plan.step_s,
            self.speedup,
            self.efficiency,
            self.plan.algorithm if len(self.hosts) > 1 else "none",
            self.plan.limited_by or "computation",
        )


def scaling(
    model: str, profile: Profile, network: Network, progress: Progress
) -> list[PricedSubset]:
    """The best subset of each number of hosts, as `world_sizes` has them and the likely best; all last."""
    named, subsets = _named(network), _subsets(profile, network)
    likely = _likely(profile, network, subsets)
    found = []
    for count in sorted({*world_sizes(network.size), len(likely)}):
        progress(f"pricing {count} of {network.size} hosts")
        prices = Prices(named.of(subsets[count - 1]))
        plan = make_plan(model, profile, prices, compare=False)
        found.append(PricedSubset(subsets[count - 1], prices, plan))
    return found


def fastest(subsets: Sequence[PricedSubset]) -> PricedSubset:
    """The subset with the most samples a second: one host unless more are clearly faster, else all unless fewer are."""
    best = max(subsets, key=lambda it: it.speedup)
    if best.speedup < CLEARLY:
        return subsets[0]
    return best if best.speedup > CLEARLY * subsets[-1].speedup else subsets[-1]


def world_sizes(most: int) -> Sequence[int]:
    """Every number up to `most`, or 1, 2, 4 … and `most` where there are more than 8."""
    if most <= _ALL_WORLD_SIZES:
        return range(1, most + 1)
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def likely_subset(profile: Profile, network: Network) -> Subset:
    """Of several hosts those that are likely the fastest; nothing is simulated for that."""
    return _likely(profile, network, _subsets(profile, network))


def _subsets(profile: Profile, network: Network) -> list[Subset]:
    def estimated_s(subset: Subset) -> float:
        return estimated_sum_s(network.of(subset), profile.size_bytes)

    return fastest_subsets(network, estimated_s)


def _likely(profile: Profile, network: Network, subsets: Sequence[Subset]) -> Subset:
    def speedup(subset: Subset) -> float:
        all_reduce_s = partial(estimated_sum_s, network.of(subset))
        return len(subset) / step(profile, BUCKETS_BYTES[-2], all_reduce_s).step_s

    return max(reversed(subsets[1:] or subsets), key=speedup)


def _named(network: Network) -> Network:
    """So that hosts keep their numbers in what is said of a part of them."""
    hosts = (replace(it, name=network.name(number)) for number, it in enumerate(network.hosts))
    return replace(network, hosts=tuple(hosts))
