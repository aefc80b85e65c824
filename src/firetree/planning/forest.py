"""A forest for a network: each chunk's tree, from which hosts' roles in it follow.

In each rack a chunk's sum passes from host to host up to the rack's gate; between gates it goes round
the racks, so that each uplink is crossed as often as it must be; then the copies go on round the same
way. A *leaf* only hands its own part to the gate and gets its copy, which is the least that a slow
port can do; it may be a leaf of some trees and take its full part in others. With one rack, no leaves
and every host the gate of as many chunks, this is the ring. `forest_search` finds one for a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from reprlib import repr as short

from firetree.collectives.algorithms.hierarchical import SLACK
from firetree.collectives.reduction import Hop, collective
from firetree.collectives.schedule import Schedule

LEAF_PARTS = 8
"""A host is a leaf of so many eighths of the chunks."""


@dataclass(frozen=True, slots=True)
class Forest:
    """What a forest is made of.

    `racks` has the hosts of each rack in the order in which sums pass them, `leaf_parts[h]` for how
    many of every eight chunks host h is a leaf. The first `gates` hosts of a rack take turns as its
    gate: more share its work, but more chunks are then under way at once. With `stars` the hosts of a
    rack hand their parts to the gate at once instead of passing them on: fewer steps, more at one port.
    """

    racks: tuple[tuple[int, ...], ...]
    leaf_parts: tuple[int, ...]
    gates: int
    chunks: int
    stars: bool = False

    @property
    def world_size(self) -> int:
        """How many hosts there are."""
        return len(self.leaf_parts)

    @property
    def period(self) -> int:
        """A number of chunks in which all gates have equally many turns, if no host is a leaf for some."""
        cores = (sum(self.leaf_parts[h] < LEAF_PARTS for h in rack) or 1 for rack in self.racks)
        return len(self.racks) * math.lcm(*(min(self.gates, core) for core in cores))

    def check(self, world_size: int) -> None:
        """Raise ValueError where it is no forest of hosts 0 to `world_size` − 1."""
        members = sorted(host for rack in self.racks for host in rack)
        if members != list(range(world_size)) or not all(self.racks):
            raise ValueError(f"racks {short(self.racks)}, not each of {world_size} hosts once")
        if len(self.leaf_parts) != world_size:
            raise ValueError(f"leaf parts of {len(self.leaf_parts)} hosts, not {world_size}")
        if not all(0 <= part <= LEAF_PARTS for part in self.leaf_parts):
            raise ValueError(f"leaf parts {short(self.leaf_parts)}, not 0 to {LEAF_PARTS}")
        if self.gates < 1:
            raise ValueError(f"{short(self.gates)} gates, not 1 or more")

    def schedule(self) -> Schedule:
        """The all-reduce along this forest."""
        return collective("all_reduce", self.world_size, self.chunks, self.hops())

    def hops(self) -> list[Hop]:
        """The hops of all chunks; later chunks of the same tree follow two steps apart."""
        return [
            Hop(2 * (chunk // self.period) + SLACK * step, sender, receiver, chunk, adds)
            for chunk in range(self.chunks)
            for step, sender, receiver, adds in self._tree(chunk)
        ]

    def _tree(self, chunk: int) -> Iterator[tuple[int, int, int, bool]]:
        """The hops of one chunk: step, sender, receiver, and whether it adds."""
        paths = [self._path(rack, chunk) for rack in self.racks]
        racks, longest = len(paths), max(map(len, paths))
        turn = chunk % racks
        gates = [paths[(turn + k) % racks][-1] for k in range(racks)]
        summed = longest + racks - 1
        for k in range(racks - 1):
            yield longest + k, gates[k], gates[k + 1], True
            yield summed + k, gates[k - 1], gates[k], False
        for rack, path in enumerate(paths):
            has_it = summed + (rack - turn + 1) % racks
            yield from self._inside(path, longest, has_it)
            for leaf in set(self.racks[rack]).difference(path):
                yield 0, leaf, path[-1], True
                yield has_it, path[-1], leaf, False

    def _inside(
        self, path: list[int], longest: int, has_it: int
    ) -> Iterator[tuple[int, int, int, bool]]:
        gate, others = path[-1], path[:-1]
        if self.stars:
            for host in others:
                yield longest - 1, host, gate, True
                yield has_it, gate, host, False
            return
        around = self.gates >= len(path)
        back = [gate, *(others if around else reversed(others))]
        for k, host in enumerate(others):
            yield longest - len(others) + k, host, path[k + 1], True
            yield has_it + k, back[k], back[k + 1], False

    def _path(self, rack: tuple[int, ...], chunk: int) -> list[int]:
        """The hosts of a rack that this chunk's sum passes, the last of them its gate."""
        part = chunk % LEAF_PARTS
        core = [host for host in rack if not self._is_leaf(host, part)]
        core = core or [min(rack, key=lambda host: self.leaf_parts[host])]
        gate = (chunk // len(self.racks)) % min(self.gates, len(core))
        return core[gate + 1 :] + core[: gate + 1]

    def _is_leaf(self, host: int, part: int) -> bool:
        """Its parts are spread evenly over the eight."""
        return (part * self.leaf_parts[host]) % LEAF_PARTS < self.leaf_parts[host]
