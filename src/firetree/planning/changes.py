"""What a change to hosts, links or training would bring, with its effort and its cost in accuracy.

The same simulation predicts it as the plan itself. Options are those of `firetree train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

from firetree.models.profile import Profile
from firetree.network.network import Network
from firetree.network.units import format_bytes
from firetree.planning.candidates import GLOO
from firetree.planning.compressions import parse_compression
from firetree.planning.plan import Prices
from firetree.planning.scaling import CLEARLY, PricedSubset, fastest
from firetree.planning.step import compressed_step, local_step, step
from firetree.planning.subsets import Subset, called
from firetree.planning.upgrades import Upgrade, faster_links, mended, switched, wider_uplinks

SQUEEZENET_BYTES = 4 * 1_235_496
"""Gradients of SqueezeNet v1.1, which has AlexNet's accuracy (Iandola et al. 2016)."""

ChangeEffort = Literal[
    "fewer hosts", "an option", "a repair", "an option to tune", "new links", "another model"
]

EFFORTS: Mapping[ChangeEffort, int] = {
    "fewer hosts": 1,
    "an option": 1,
    "a repair": 2,
    "an option to tune": 3,
    "new links": 4,
    "another model": 5,
}
"""What each effort counts against a gain: one that counts n times as much is worth the gain to the power of n."""

LOST_POINTS = {
    "fp16": -0.79,
    "int8": -0.43,
    "topk:0.01": 1.85,
    "powersgd:2": -0.07,
    "local:16": 1.46,
    "batch:4": 1.74,
}
"""Points of top-1 that were lost, by medians of three seeds (reproduce/RESULTS.md): fewer bytes on
Fashion-MNIST with four workers; a batch of 256 in place of 64, at the same rate, on CIFAR-10."""

_COMPRESSIONS = ("fp16", "bf16", "int8", "powersgd:2", "topk:0.01", "demo:32")
_LOCAL_STEPS = 16
_BETWEEN_LOCAL_STEPS = "sparseloco:0.02"
_STREAMED = 64, 4, 4
"""Local steps, fragments, and steps that hide one."""
_IN_FRAGMENTS = "e3m0"
_LARGER = 4

_MOST_TIMES_FEWER = 1 << 12

_CAREFUL_POINTS = 0.5
"""An option that lost more points than these has to be tuned; where that was not measured, all but rounding."""
_ROUNDING = ("fp16", "bf16")


@dataclass(frozen=True, slots=True)
class Change:
    """One change, and what training gains by it.

    `hosts` train with it. `speedup` is their samples a second against one machine's as it is, `gain` that
    against all hosts' as they are. `lost_points` of top-1 accuracy were measured (see `LOST_POINTS`): 0
    where the same gradients are summed, None where nothing was measured.
    """

    what: str
    effort: ChangeEffort
    hosts: Subset
    speedup: float
    gain: float
    lost_points: float | None

    def is_known_to_cost_at_most(self, points: float) -> bool:
        """Whether it was measured to lose no more points of accuracy than these."""
        return self.lost_points is not None and self.lost_points <= points

    @property
    def gain_for_effort(self) -> float:
        """By which changes are ordered."""
        return math.log(self.gain) / EFFORTS[self.effort]


def changes_for(
    profile: Profile, network: Network, subsets: Sequence[PricedSubset]
) -> tuple[Change, ...]:
    """The fastest of the subsets, and what would be clearly faster than that, by gain for effort.

    An option is priced for the fastest of several hosts and for all; the better of the two is told.
    """
    if network.size == 1:
        return ()
    now, best = subsets[-1], fastest(subsets)
    several = max(subsets[1:], key=_speedup)

    def change(idea: _Idea, of: PricedSubset) -> Change:
        speedup = len(of.hosts) * idea.efficiency(of)
        gain = speedup / now.speedup
        return Change(idea.what, idea.effort, of.hosts, speedup, gain, idea.lost_points)

    found = [change(idea, now) for idea in _of_links(mended(network), "a repair", profile)]
    for upgrades in (switched(network), wider_uplinks(network), faster_links(network)):
        dearer = [change(idea, now) for idea in _of_links(upgrades, "new links", profile)]
        found += _each_clearly_faster(dearer)
    found += [
        max((change(idea, of) for of in (several, now)), key=_speedup)
        for idea in (*_of_options(profile), *_of_models(profile))
    ]
    found = [it for it in found if it.speedup > CLEARLY * best.speedup]
    if best is not now:
        out = called(network, {*now.hosts} - {*best.hosts})
        what = f"leave out {out}" if len(best.hosts) > 1 else "one machine alone"
        as_it_is = _Idea(what, "fewer hosts", lambda it: it.efficiency)
        found.append(change(as_it_is, best))
    return tuple(sorted(found, key=lambda it: -it.gain_for_effort))


def times_fewer_bytes(profile: Profile, it: PricedSubset) -> float | None:
    """The least factor by which gradients have to shrink until these hosts are clearly faster than one.

    None if no factor does.
    """

    def is_faster(times: float) -> bool:
        fewer, bucket_bytes = profile.resized(1 / times), max(1, int(it.plan.bucket_bytes / times))
        taken = step(fewer, bucket_bytes, _priced(it.prices, it))
        return len(it.hosts) * profile.compute_s / taken.step_s >= CLEARLY

    low, high = 1.0, float(_MOST_TIMES_FEWER)
    if not is_faster(high):
        return None
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_faster(middle) else (middle, high)
    return high


def compressions_that_cost_at_most(points: float) -> list[str]:
    """Those that were measured to lose no more points of accuracy than these."""
    return [text for text in _COMPRESSIONS if LOST_POINTS.get(text, math.inf) <= points]


def _speedup(it: Change | PricedSubset) -> float:
    return it.speedup


def _each_clearly_faster(dearer: Iterable[Change]) -> list[Change]:
    """Those that are clearly faster than the cheaper ones before them."""
    kept: list[Change] = []
    for it in dearer:
        if not kept or it.speedup > CLEARLY * kept[-1].speedup:
            kept.append(it)
    return kept


class _Idea(NamedTuple):
    """A change, and how efficient hosts with their plan would be with it."""

    what: str
    effort: ChangeEffort
    efficiency: Callable[[PricedSubset], float]
    lost_points: float | None = 0.0


def _of_links(
    upgrades: Iterable[Upgrade], effort: ChangeEffort, profile: Profile
) -> Iterator[_Idea]:
    for it in upgrades:
        yield _Idea(it.what, effort, partial(_with_upgrade, profile, it))


def _of_options(profile: Profile) -> Iterator[_Idea]:
    def idea(what: str, key: str, efficiency: Callable[[PricedSubset], float]) -> _Idea:
        lost = LOST_POINTS.get(key)
        is_sure = key in _ROUNDING if lost is None else lost <= _CAREFUL_POINTS
        return _Idea(what, "an option" if is_sure else "an option to tune", efficiency, lost)

    for text in _COMPRESSIONS:
        yield idea(f"sync.compression = {text}", text, partial(_compressed, profile, text))
    alone, few = f"sync.local_steps = {_LOCAL_STEPS}", _BETWEEN_LOCAL_STEPS
    yield idea(
        alone,
        f"local:{_LOCAL_STEPS}",
        partial(_with_local_steps, profile, "none", _LOCAL_STEPS, 1, 0),
    )
    yield idea(
        f"{alone}, sync.compression = {few}",
        f"local:{_LOCAL_STEPS}+{few}",
        partial(_with_local_steps, profile, few, _LOCAL_STEPS, 1, 0),
    )
    steps, fragments, overlap = _STREAMED
    streamed = f"sync.local_steps = {steps}, sync.fragments = {fragments}"
    yield idea(
        f"{streamed}, sync.overlap_steps = {overlap}, sync.compression = {_IN_FRAGMENTS}",
        f"local:{steps}+fragments:{fragments}+{_IN_FRAGMENTS}",
        partial(_with_local_steps, profile, _IN_FRAGMENTS, *_STREAMED),
    )
    larger = profile.scaled(_LARGER * profile.compute_s)
    # Of a batch in parts, only the last part's backward pass hides sums.
    in_parts = replace(profile, forward_s=_LARGER * profile.compute_s - profile.backward_s)
    for what, changed in (
        (f"a batch {_LARGER} times as large", larger),
        (f"that batch in {_LARGER} parts, optim.accumulate = {_LARGER}", in_parts),
    ):
        yield idea(what, f"batch:{_LARGER}", partial(_with_profile, changed))


def _of_models(profile: Profile) -> Iterator[_Idea]:
    if profile.size_bytes > 2 * SQUEEZENET_BYTES:
        what = f"a model with SqueezeNet's {format_bytes(SQUEEZENET_BYTES)} of gradients"
        smaller = profile.resized(SQUEEZENET_BYTES / profile.size_bytes)
        yield _Idea(what, "another model", partial(_with_profile, smaller), None)


def _with_profile(changed: Profile, it: PricedSubset) -> float:
    taken = step(changed, it.plan.bucket_bytes, _priced(it.prices, it))
    return changed.compute_s / taken.step_s


def _with_upgrade(profile: Profile, upgrade: Upgrade, it: PricedSubset) -> float:
    all_reduce_s = _priced(Prices(upgrade.network), it)
    return profile.compute_s / step(profile, it.plan.bucket_bytes, all_reduce_s).step_s


def _compressed(profile: Profile, text: str, it: PricedSubset) -> float:
    compression, bucket_bytes = parse_compression(text), it.plan.bucket_bytes
    all_reduce_s = _priced(it.prices, it)
    taken = compressed_step(profile, compression, len(it.hosts), bucket_bytes, all_reduce_s)
    return profile.compute_s / taken.step_s


def _with_local_steps(
    profile: Profile, text: str, steps: int, fragments: int, overlap: int, it: PricedSubset
) -> float:
    compression = parse_compression(text)
    fewer = compression.compressed(profile, len(it.hosts))
    taken = local_step(fewer, steps, _priced(it.prices, it), fragments, overlap)
    return profile.compute_s / (taken.step_s + compression.arithmetic_s(profile) / steps)


def _priced(prices: Prices, it: PricedSubset) -> Callable[[int], float]:
    """The best of the plan's algorithms and the backend's own: pricing all would take long."""
    few = copy(prices)
    few.names = [name for name in prices.names if name in it.plan.algorithms | {GLOO}]
    return few.best_seconds
