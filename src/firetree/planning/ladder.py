"""The way to sum a buffer of any size, where the sizes are not known beforehand.

A `Plan` is for one model's buckets; a `Ladder` has a way for every size up to the gradients of a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby

from firetree import collectives
from firetree.documents import Count, Seconds, parse_json
from firetree.network.units import format_bytes, format_duration
from firetree.planning.candidates import FOREST, GLOO, Choice
from firetree.planning.plan import Prices

_LEAST_BYTES = 1 << 12

_TREE_BYTES = 4 << 20
_CIRCULANT_BYTES = 64 << 20
_FEW_RANKS = 8


@dataclass(frozen=True, slots=True)
class Rung:
    """The way to take for buffers of about this size, and what it takes; None where nobody measured."""

    size_bytes: Count
    choice: Choice
    sum_s: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs a factor of two apart, the smallest first."""

    rungs: tuple[Rung, ...]

    @property
    def algorithm(self) -> str:
        """What sums the largest buffer."""
        return self.rungs[-1].choice.algorithm

    @property
    def algorithms(self) -> frozenset[str]:
        """All that it may take."""
        return frozenset(rung.choice.algorithm for rung in self.rungs)

    def choice_for(self, size_bytes: int) -> Choice:
        """The way of the nearest rung, cut for this very size."""
        choice = self._nearest(size_bytes).choice
        if choice.algorithm in (GLOO, FOREST):
            return choice
        chunks = collectives.chunks_for(choice.algorithm, len(choice.order), size_bytes)
        return replace(choice, chunks=chunks)

    def seconds(self, size_bytes: int) -> float | None:
        """What a sum of that size should take: a straight line between two rungs."""
        within = min(max(size_bytes, self.rungs[0].size_bytes), self.rungs[-1].size_bytes)
        below = max((it for it in self.rungs if it.size_bytes <= within), key=_size)
        above = min((it for it in self.rungs if it.size_bytes >= within), key=_size)
        if below.sum_s is None or above.sum_s is None:
            return None
        part = (within - below.size_bytes) / max(1, above.size_bytes - below.size_bytes)
        return (1 - part) * below.sum_s + part * above.sum_s

    def _nearest(self, size_bytes: int) -> Rung:
        def apart(rung: Rung) -> float:
            larger, smaller = max(rung.size_bytes, size_bytes), min(rung.size_bytes, size_bytes)
            return larger / max(1, smaller)

        return min(self.rungs, key=apart)

    def __str__(self) -> str:
        """`kary_tree:3 up to 512 kB, above gloo; a sum of 5 MB should take 300 ms`."""
        runs = [
            (name, [*rungs][-1].size_bytes)
            for name, rungs in groupby(self.rungs, lambda rung: rung.choice.algorithm)
        ]
        *lower, (last, _) = runs
        said = [f"{name} up to {format_bytes(size)}" for name, size in lower]
        said.append(f"above {last}" if lower else f"{last} for all sizes")
        top = self.rungs[-1]
        if top.sum_s is None:
            return ", ".join(said)
        took = format_duration(top.sum_s)
        return f"{', '.join(said)}; a sum of {format_bytes(top.size_bytes)} should take {took}"

    def to_json(self) -> str:
        """For the other ranks, which run the same version."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Ladder:
        """Read what `to_json` wrote (UserError)."""
        return parse_json(Ladder, text, "the ladder")


def _size(rung: Rung) -> int:
    return rung.size_bytes


def sizes_up_to(most_bytes: int) -> Iterator[int]:
    """Powers of two from 4 kiB to the first that is not below `most_bytes`, which stands in its place."""
    size_bytes = _LEAST_BYTES
    while size_bytes < most_bytes:
        yield size_bytes
        size_bytes *= 2
    yield max(most_bytes, _LEAST_BYTES)


def priced_ladder(prices: Prices, most_bytes: int) -> Ladder:
    """The cheapest way on a network for each size; the backend's own where no other is worth it."""
    return Ladder(
        tuple(
            Rung(size, prices.choice(name, size), prices.seconds(name, size))
            for size in sizes_up_to(most_bytes)
            for name in (prices.best(size),)
        )
    )


def ladder_on_one_host(world_size: int, most_bytes: int, private: bool) -> Ladder:
    """What was fastest on one host's loopback (benchmarks/RESULTS.md); Gloo's own not where `private`."""
    order = tuple(range(world_size))
    rungs = []
    for size in sizes_up_to(most_bytes):
        name = _on_one_host(world_size, size)
        if name == GLOO and not private:
            rungs.append(Rung(size, Choice(GLOO, 1)))
            continue
        name = "ring" if name == GLOO else name
        chunks = collectives.chunks_for(name, world_size, size)
        rungs.append(Rung(size, Choice(name, chunks, order)))
    return Ladder(tuple(rungs))


def _on_one_host(world_size: int, size_bytes: int) -> str:
    if world_size == 2:
        return "ring"
    if size_bytes <= _TREE_BYTES:
        return "binomial_tree"
    if world_size >= _FEW_RANKS:
        return GLOO
    return "circulant" if size_bytes <= _CIRCULANT_BYTES else "ring"
