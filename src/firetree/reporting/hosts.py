"""What ranks, hosts and links are called in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firetree.output import listed
from firetree.reporting.flows import Place, places_of
from firetree.trace import TraceHeader


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a run, by the numbers of their places."""

    places: tuple[Place, ...]
    """Of each rank."""
    names: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many hosts there are."""
        return len(self.names)

    def of(self, rank: int) -> str:
        """The name of a rank's host."""
        return self.names[self.places[rank]]

    def ranks(self, places: Iterable[Place]) -> tuple[int, ...]:
        """All ranks on some hosts."""
        wanted = set(places)
        return tuple(rank for rank, place in enumerate(self.places) if place in wanted)

    def first_rank(self, place: Place) -> int:
        """The first rank on a host."""
        return self.places.index(place)

    def called(self, rank: int) -> str:
        """`host gpu-box`, or `rank 3 on gpu-box` where it is one of several there."""
        alone = self.places.count(self.places[rank]) == 1
        return _host(self.of(rank)) if alone else f"rank {rank} on {self.of(rank)}"

    def all_called(self, ranks: Sequence[int]) -> str:
        """`hosts a and b`, or `ranks 0 and 2` where a host has others too."""
        places = [*dict.fromkeys(self.places[rank] for rank in ranks)]
        if len(ranks) == 1:
            return self.called(ranks[0])
        if self.ranks(places) != tuple(sorted(ranks)):
            return f"ranks {listed([str(rank) for rank in ranks])}"
        names = [self.names[place] for place in places]
        if len(names) == 1:
            return _host(names[0])
        return f"hosts {listed([name.removeprefix('host ') for name in names])}"

    def place(self, place: Place) -> str:
        """`host gpu-box`."""
        return _host(self.names[place])


def hosts_of(headers: Sequence[TraceHeader]) -> Hosts:
    """The hosts of a run: by their own names, with a rank where several share one, else by numbers."""
    places = places_of(headers)
    told = {place: header.host for place, header in zip(places, headers, strict=True)}
    times = Counter(told.values())
    names = []
    for place, name in told.items():
        if not name or name.isdigit():  # the lab calls hosts by their numbers
            names.append(f"host {name or place}")
        elif times[name] > 1:
            names.append(f"{name} (rank {places.index(place)})")
        else:
            names.append(name)
    return Hosts(tuple(places), tuple(names))


def _host(name: str) -> str:
    return name if name.startswith("host ") else f"host {name}"


def begun(sentence: str) -> str:
    """With a capital letter."""
    return sentence[:1].upper() + sentence[1:]
