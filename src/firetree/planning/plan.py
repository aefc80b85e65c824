"""Before training: the best way to sum each bucket of a step on a network.

Every candidate is priced for every bucket size; a `Plan` is the best of them as data, which
`firetree.attach` and `firetree.train` run. `scaling` says which hosts to take for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from firetree.documents import (
    Count,
    Positive,
    Printable,
    Seconds,
    from_document,
    parse_json,
    read_text,
)
from firetree.errors import UserError, nearest
from firetree.models.profile import Profile
from firetree.network.network import MOST_HOSTS, Network
from firetree.network.units import format_bytes, format_duration
from firetree.planning.bound import optimum_s
from firetree.planning.candidates import (
    FOREST,
    GLOO,
    GLOO_SEGMENT_BYTES,
    WORTH_A_CHANGE,
    Choice,
    best_of,
    candidate_names,
    forest,
    is_uneven,
    known,
)
from firetree.planning.step import StepPrediction, bucketed, step
from firetree.shown import Shown

PLAN_VERSION = 4

_OLD_NAMES = {"native": GLOO, "grown": FOREST}
"""Of algorithms, in version 1."""

BUCKETS_BYTES = (1 << 20, 4 << 20, 25 << 20, 1 << 40)
"""Bucket sizes that are tried; the last puts all gradients into one."""

_COMPUTATION_SHARE = 0.05
"""A step that waits for less than this part of its time is limited by its computation."""

_ANCHORS = tuple(1 << 2 * k for k in range(6, 13))

_FOREST_ANCHORS = {1 << 16: 2_000, 1 << 20: 8_000, 1 << 24: 15_000, 1 << 28: 15_000}
"""The sizes that forests are searched for, and the transfers of a search: small buckets matter little."""

_MOST_TRANSFERS = 1 << 24
"""Of all choices in a plan's file: four rings over 1,024 hosts in two segments a share, as Gloo has them."""

_MOST_CHUNKS = 1 << 10
"""Of a choice for a small bucket; a larger one has as many as the backend would have."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a step would take with one algorithm for all buckets, at its best bucket size."""

    algorithm: Printable
    bucket_bytes: Positive
    step_s: Seconds


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Shown):
    """How the gradients of a model are summed on a network: one choice for each bucket's size.

    `gradient_bytes` and `world_size` say what it was made for, `compute_s` and `step_s` what it
    predicts, `candidates` what every other way would take, fastest first.
    """

    model: Printable
    world_size: Positive
    gradient_bytes: Count
    bucket_bytes: Positive
    choices: tuple[tuple[Count, Choice], ...]
    compute_s: Seconds
    step_s: Seconds
    limited_by: Printable
    candidates: tuple[Candidate, ...]

    def __repr__(self) -> str:
        return (
            f"Plan({self.model} on {self.world_size} hosts: {format_duration(self.step_s)} a step, "
            f"buckets of {format_bytes(self.bucket_bytes)}, the largest by {self.algorithm})"
        )

    def choice_for(self, size_bytes: int) -> Choice:
        """The choice that was made for the bucket nearest in size."""
        if not self.choices:
            return Choice(GLOO, 1)
        return min(self.choices, key=lambda made: abs(made[0] - size_bytes))[1]

    @property
    def algorithm(self) -> str:
        """What sums the largest bucket."""
        return max(self.choices, key=lambda made: made[0])[1].algorithm if self.choices else GLOO

    @property
    def algorithms(self) -> frozenset[str]:
        """All that it may take for a bucket."""
        return frozenset(choice.algorithm for _, choice in self.choices) or frozenset((GLOO,))

    def check(self, world_size: int, gradient_bytes: int) -> None:
        """Raise UserError where it was made for other ranks or another model."""
        if self.world_size != world_size:
            raise UserError(
                f"a plan for {self.world_size} ranks on {world_size}; start the hosts that firetree plan "
                "made it for, or make one for this cluster"
            )
        if self.gradient_bytes != gradient_bytes:
            raise UserError(
                f"a plan for {self.model} with {self.gradient_bytes:,} bytes of gradients; this model "
                f"has {gradient_bytes:,}; make one for it with firetree plan"
            )

    def to_json(self) -> str:
        """All fields, and the version."""
        return json.dumps({"version": PLAN_VERSION, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str, source: str = "the plan") -> Plan:
        """Read what `to_json` wrote; `source` names it in errors (UserError)."""
        document = parse_json(dict[str, Any], text, source)
        if document.get("version") == 1:
            document = json.loads(text, object_hook=_renamed)
        if document.get("version") in (
            1,
            2,
            3,
        ):  # these lack trees or groves, else they are the same
            document["version"] = PLAN_VERSION
        made = from_document(Plan, document, source, PLAN_VERSION)
        try:
            _check_choices(made)
        except (ValueError, UserError) as error:
            raise UserError(f"{source}: {error}") from error
        return made


def _renamed(entry: dict[str, Any]) -> dict[str, Any]:
    """A choice or candidate of version 1 with the names of today."""
    if "growth" in entry:
        entry["forest"] = entry.pop("growth")
    if isinstance(name := entry.get("algorithm"), str):
        entry["algorithm"] = _OLD_NAMES.get(name, name)
    return entry


def _check_choices(made: Plan) -> None:
    """Raise ValueError or UserError for what could not be run; no schedule is built for that."""
    if made.world_size > MOST_HOSTS:
        raise ValueError(f"{made.world_size} ranks; expected at most {MOST_HOSTS}")
    for size_bytes, choice in made.choices:
        choice.check(made.world_size)
        most = max(_MOST_CHUNKS, 8 * made.world_size, 2 * size_bytes // GLOO_SEGMENT_BYTES)
        if choice.chunks > most:
            raise ValueError(
                f"{choice.chunks} chunks of {size_bytes:,} bytes; expected at most {most}"
            )
    transfers = sum(2 * made.world_size * choice.chunks for _, choice in made.choices)
    if transfers > _MOST_TRANSFERS:
        raise ValueError(f"{transfers} transfers; expected at most {_MOST_TRANSFERS}")


def load_plan(path: str | Path) -> Plan:
    """Read a plan's file.

    Args:
        path: what `firetree plan -o` or `Plan.to_json` has written.

    Raises:
        UserError: it cannot be read, or is no plan.

    Example:
        >>> firetree.load_plan("plan.json").choice_for(1_000_000).algorithm
        'gloo'
    """
    return Plan.from_json(read_text(Path(path), "plan"), f"plan {path}")


class Prices:
    """What each candidate takes on one network for any size: priced at sizes a factor of four apart up
    to 16 MiB, and straight lines between and beyond."""

    def __init__(self, network: Network):
        self.network = network
        self._priced: dict[tuple[str, int], float] = {}
        self._least: dict[tuple[str, int], float] = {}
        self._forests: dict[int, Choice] = {}
        self.names = list(candidate_names(network))
        if is_uneven(network) and network.size > 2:
            self.names.append(FOREST)

    def choice(self, name: str, size_bytes: float) -> Choice:
        """The candidate of that name for a size."""
        if name != FOREST:
            return known(name, self.network, size_bytes)
        anchor = min(_FOREST_ANCHORS, key=lambda a: max(a, size_bytes) / min(a, size_bytes))
        if anchor not in self._forests:
            transfers = _FOREST_ANCHORS[anchor]
            self._forests[anchor] = forest(self.network, anchor, transfers=transfers)
        return self._forests[anchor]

    def seconds(self, name: str, size_bytes: int) -> float:
        """The time of one all-reduce of that size."""
        return _between_anchors(partial(self._at, name), size_bytes)

    def _at(self, name: str, size_bytes: int) -> float:
        if (name, size_bytes) not in self._priced:
            choice = self.choice(name, size_bytes)
            self._priced[name, size_bytes] = choice.price(self.network, size_bytes).time_s
        return self._priced[name, size_bytes]

    def best(self, size_bytes: int) -> str:
        """The name of the candidate to take for a size.

        Only those are simulated that may be clearly faster, by what their busiest link takes. The forest
        comes last: it has to be searched for.
        """
        seconds: dict[str, float] = {}

        def turn(name: str) -> tuple[bool, bool, float]:
            return name == FOREST, name != GLOO, self._worth_s(name, size_bytes)

        for name in sorted(self.names, key=turn):
            if not seconds or self._worth_s(name, size_bytes) < min(seconds.values()):
                seconds[name] = self.seconds(name, size_bytes)
        return best_of(seconds)

    def _worth_s(self, name: str, size_bytes: int) -> float:
        """It is worth it where others take longer than this."""
        return _between_anchors(partial(self._worth_at, name), size_bytes)

    def _worth_at(self, name: str, size_bytes: int) -> float:
        if (name, size_bytes) in self._priced:
            return self._priced[name, size_bytes]
        if (name, size_bytes) not in self._least:
            if name == FOREST:
                least_s = optimum_s(self.network, size_bytes)
            else:
                least_s = max(self.choice(name, size_bytes).carried_s(self.network, size_bytes))
            self._least[name, size_bytes] = least_s
        return WORTH_A_CHANGE * self._least[name, size_bytes]

    def best_seconds(self, size_bytes: int) -> float:
        """The time of that candidate."""
        return self.seconds(self.best(size_bytes), size_bytes)


def _between_anchors(at: Callable[[int], float], size_bytes: int) -> float:
    """On a straight line through what it is at two anchors."""
    segments = [*pairwise(_ANCHORS)]
    below, above = next((s for s in segments if size_bytes <= s[1]), segments[-1])
    part = max(0.0, (size_bytes - below) / (above - below))
    return (1 - part) * at(below) + part * at(above)


def restricted(prices: Prices, name: str) -> Prices:
    """The same prices with one candidate alone.

    Raises:
        UserError: no candidate of that name on this network.
    """
    if name not in prices.names:
        raise UserError(f"no way '{name}'{nearest(name, prices.names)}")
    alone = copy(prices)
    alone.names = [name]
    return alone


def make_plan(
    model: str,
    profile: Profile,
    prices: Prices,
    buckets_bytes: Sequence[int] = BUCKETS_BYTES,
    compare: bool = True,
) -> Plan:
    """The bucket size, of those given, and the choices with which a step is fastest.

    Without `compare` it has no `candidates`, which take the most time to price.
    """
    if prices.network.size == 1:
        compute_s = profile.compute_s
        return Plan(
            model, 1, profile.size_bytes, BUCKETS_BYTES[-2], (), compute_s, compute_s, "", ()
        )
    candidates = _candidates(profile, prices) if compare else ()
    bucket_bytes = min(
        buckets_bytes, key=lambda size: step(profile, size, prices.best_seconds).step_s
    )
    best = step(profile, bucket_bytes, prices.best_seconds)
    sizes = sorted({bucket.size_bytes for bucket in bucketed(profile, bucket_bytes)})
    choices = tuple((size, prices.choice(prices.best(size), size)) for size in sizes)
    return Plan(
        model,
        prices.network.size,
        profile.size_bytes,
        min(bucket_bytes, profile.size_bytes),
        choices,
        profile.compute_s,
        best.step_s,
        _limit(best, prices.network, choices[-1]),
        candidates,
    )


def _candidates(profile: Profile, prices: Prices) -> tuple[Candidate, ...]:
    found = []
    for name in prices.names:
        steps = [
            Candidate(name, size, step(profile, size, partial(prices.seconds, name)).step_s)
            for size in BUCKETS_BYTES
        ]
        found.append(min(steps, key=lambda candidate: candidate.step_s))
    return tuple(sorted(found, key=lambda candidate: candidate.step_s))


def _limit(best: StepPrediction, network: Network, largest: tuple[int, Choice]) -> str:
    if best.exposed_s < _COMPUTATION_SHARE * best.step_s:
        return "computation"
    size_bytes, choice = largest
    return choice.price(network, size_bytes).limited_by
