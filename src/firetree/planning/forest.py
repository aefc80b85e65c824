"""A forest: an all-reduce schedule with a tree for each chunk. `forest_search` finds one for a network.

In each rack a chunk's sum passes from host to host up to one host, the rack's gate. The gates pass it
from rack to rack, so that it crosses each uplink as rarely as possible. The copies go back the same way.
A *leaf* only sends its own chunk to the gate and receives the result: the least load on a slow port. A
host may be a leaf in some trees only. With one rack, no leaves and all hosts as gates, this is the ring.
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
"""`leaf_parts` counts in eighths of the chunks."""


@dataclass(frozen=True, slots=True)
class Forest:
    """The parameters of a forest.

    `racks` lists the hosts of each rack in the order in which sums pass them. Host h is a leaf for
    `leaf_parts[h]` of every eight chunks. `gates` hosts of a rack take turns as its gate: more gates
    share the load, but more chunks are in flight at once. With `stars` all hosts of a rack send to the
    gate directly: fewer steps, more load on one port.
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
        """The number of chunks after which each gate has had its turns; hosts that are sometimes leaves aside."""
        cores = (sum(self.leaf_parts[h] < LEAF_PARTS for h in rack) or 1 for rack in self.racks)
        return len(self.racks) * math.lcm(*(min(self.gates, core) for core in cores))

    def check(self, world_size: int) -> None:
        """Raise ValueError if this is not a forest of hosts 0 to `world_size` − 1."""
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
        """The hops of all chunks; chunks of the same tree start two steps apart."""
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
        """The hosts of a rack that this chunk's sum passes; the last one is the gate."""
        part = chunk % LEAF_PARTS
        core = [host for host in rack if not self._is_leaf(host, part)]
        core = core or [min(rack, key=lambda host: self.leaf_parts[host])]
        gate = (chunk // len(self.racks)) % min(self.gates, len(core))
        return core[gate + 1 :] + core[: gate + 1]

    def _is_leaf(self, host: int, part: int) -> bool:
        """Spread a host's leaf parts evenly over the eight."""
        return (part * self.leaf_parts[host]) % LEAF_PARTS < self.leaf_parts[host]
