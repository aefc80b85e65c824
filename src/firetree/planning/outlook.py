"""What a run's ranks bring against one of them alone, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from firetree.models.profile import Profile
from firetree.network.network import Network
from firetree.network.units import format_duration
from firetree.planning.changes import LOST_POINTS
from firetree.planning.compressions import UNCOMPRESSED, parse_compression
from firetree.planning.plan import Plan, Prices, make_plan
from firetree.planning.scaling import CLEARLY, likely_subset
from firetree.planning.step import compressed_step


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a step of all ranks takes; a speed-up counts samples a second against one rank alone.

    `compression` is what gradients are to be sent as. `without` are ranks that are likely better left out,
    and `speedup_without` is that of all others; empty, and 0, where there are none.
    """

    world_size: int
    step_s: float
    compute_s: float
    algorithm: str
    compression: str = "none"
    without: tuple[int, ...] = ()
    speedup_without: float = 0.0

    @property
    def speedup(self) -> float:
        return self.world_size * self.compute_s / self.step_s

    @property
    def is_slower(self) -> bool:
        """Whether fewer ranks, or one alone, are clearly faster."""
        return max(1.0, self.speedup_without) > CLEARLY * self.speedup

    @property
    def faster(self) -> tuple[int, ...]:
        """Ranks that are clearly faster than all together, rank 0 among them; empty where there are none."""
        if self.speedup_without > max(1.0, CLEARLY * self.speedup) and 0 not in self.without:
            return tuple(sorted({*range(self.world_size)} - {*self.without}))
        return (0,) if CLEARLY * self.speedup < 1.0 else ()

    def __str__(self) -> str:
        """One sentence."""
        said = (
            f"{self.world_size} workers: {format_duration(self.step_s)} a step, {self.speedup:.2f} "
            f"workers' worth, the largest buckets by {self.algorithm}"
        )
        if self.compression != UNCOMPRESSED.name:
            lost = LOST_POINTS[self.compression]
            cost = f"{lost:.2g} points of" if lost > 0 else "no"
            said += (
                f", sent as {self.compression}, which cost {cost} accuracy where it was measured"
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


def outlook(
    plan: Plan, profile: Profile, network: Network, compressions: Sequence[str] = ()
) -> Outlook:
    """What a plan for all hosts of a network brings, and what it would on the likely best of them.

    Of the compressions, whose cost in accuracy is known, it takes the fastest, if it is clearly faster than
    none.
    """
    step_s, compression = _compressed(plan, profile, network, compressions)
    found = Outlook(plan.world_size, step_s, plan.compute_s, plan.algorithm, compression)
    chosen = likely_subset(profile, network)
    if len(chosen) == network.size:
        return found
    part = network.of(chosen)
    fewer = make_plan(plan.model, profile, Prices(part), compare=False)
    without = tuple(sorted({*range(network.size)} - {*chosen}))
    step_s, _ = _compressed(fewer, profile, part, compressions)
    return replace(found, without=without, speedup_without=len(chosen) * fewer.compute_s / step_s)


def _compressed(
    plan: Plan, profile: Profile, network: Network, compressions: Sequence[str]
) -> tuple[float, str]:
    """A step with the fastest of the compressions and its name, if it is clearly faster than none."""
    prices = Prices(network)
    prices.names = [name for name in prices.names if name in plan.algorithms]
    times_s = {
        text: compressed_step(
            profile,
            parse_compression(text),
            plan.world_size,
            plan.bucket_bytes,
            prices.best_seconds,
        ).step_s
        for text in compressions
    }
    best = min(times_s, key=times_s.__getitem__, default=None)
    if best is None or CLEARLY * times_s[best] > plan.step_s:
        return plan.step_s, UNCOMPRESSED.name
    return times_s[best], best
