"""The ways to sum a buffer on a network, each with its price: known algorithms, the backend's own, a forest.

A `Choice` is what a plan stores for a bucket; from it follows the schedule that is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from reprlib import repr as short
from statistics import median

from firetree import collectives
from firetree.collectives.algorithms.algorithm import Algorithm
from firetree.collectives.schedule import Schedule
from firetree.network.network import Network
from firetree.planning.forest import Forest
from firetree.planning.forest_search import Grown, find_forest
from firetree.planning.grove import Grove
from firetree.planning.host_order import host_order
from firetree.planning.routes import Routes
from firetree.planning.simulate import Price, limit, price
from firetree.planning.tree import Tree

GLOO = "gloo"
"""The backend's own all-reduce: Gloo's on CPUs, NCCL's on GPUs."""

FOREST = "forest"
"""The forest, the grove or the one tree found for a network."""

GLOO_SEGMENT_BYTES = 1 << 20

GLOO_MESSAGES = 3.0
"""What a message of Gloo's own all-reduce costs CPUs, in messages of ours: 2.4 and 2.5 where links of
200 Mbit/s limit 64 kB, on loopback 3.5 to 6.5, where ours are ten times as fast and the pick is clear."""

MOST_SIMULATED = 6_000
"""Transfers of a named algorithm that are simulated, in a fifth of a second: all on 8 hosts, few on 64."""

WORTH_A_CHANGE = 1.03
"""Predictions are off by a few percent: less than this gain is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to sum a buffer: an algorithm, its number of chunks, and which host takes which part.

    The algorithm `forest` has its `forest`, its `grove`, or its `tree` where one is enough; others have none.
    """

    algorithm: str
    chunks: int
    order: tuple[int, ...] = ()
    forest: Forest | None = None
    tree: Tree | None = None
    grove: Grove | None = None

    @property
    def grown(self) -> Grown | None:
        """What was found for a network."""
        return self.forest or self.tree or self.grove

    def check(self, world_size: int) -> None:
        """Raise ValueError, or UserError for an unknown name, where `schedule` could not be run."""
        if self.chunks < 1:
            raise ValueError(f"a choice of {self.chunks} chunks; expected 1 or more")
        if [self.forest, self.tree, self.grove].count(None) < 2:
            raise ValueError("two of a forest, a tree and a grove in one choice")
        if self.grown is not None:
            if (self.algorithm, self.chunks) != (FOREST, self.grown.chunks):
                raise ValueError(f"a forest of {self.grown.chunks} chunks in another choice")
            self.grown.check(world_size)
        elif self.algorithm != GLOO:
            collectives.find(self.algorithm)
            if sorted(self.order) != list(range(world_size)):
                raise ValueError(f"order {short(self.order)}, not each of {world_size} ranks once")

    def schedule(self, world_size: int) -> Schedule:
        """What is run; for `gloo` what Gloo does, as near as a schedule can say it."""
        if self.grown is not None:
            return self.grown.schedule()
        if self.algorithm == GLOO:
            return collectives.build("ring", world_size, self.chunks)
        return collectives.build(self.algorithm, world_size, self.chunks).with_order(self.order)

    def price(self, network: Network, size_bytes: float) -> Price:
        """What it takes on a network: simulated, or estimated where that would take long."""
        if network.size == 1:
            return Price(0.0, "nothing")
        if self.algorithm == GLOO:
            network = _for_gloo(network)
        if self.grown is None and 2 * (network.size - 1) * self.chunks > MOST_SIMULATED:
            return self._estimate(network, size_bytes)
        return price(self.schedule(network.size), network, size_bytes)

    def _estimate(self, network: Network, size_bytes: float) -> Price:
        """The closed form on links like the median host's, or what the busiest link takes if that is longer."""
        port_bytes_s = median(min(it.up_bytes_s, it.down_bytes_s) for it in network.hosts)
        latency_s = median(map(median, network.latency_s)) if network.latency_s else 0.0
        message_s = latency_s + 2 * median(host.message_s for host in network.hosts)
        links = collectives.LinkGraph(message_s, port_bytes_s)
        closed = self._rule().cost(network.size, self.chunks, size_bytes, links)
        carried_s = self.carried_s(network, size_bytes)
        time_s = max(closed.time_s, *carried_s)
        return Price(time_s, limit(Routes(network), carried_s, time_s))

    def _rule(self) -> Algorithm:
        return collectives.find("ring" if self.algorithm == GLOO else self.algorithm)

    def carried_s(self, network: Network, size_bytes: float) -> list[float]:
        """How long each link is in use: found much sooner than the price, which is never less."""
        return [size_bytes * s_byte for s_byte in _carried_s_byte(self, network)]

    def ways(self, world_size: int) -> tuple[Iterator[tuple[int, int]], int]:
        """Sender and receiver of each hop, and the number of chunks that these carry."""
        chunks = self.chunks
        if self.grown is not None:
            hops = self.grown.hops()
        else:
            if self.algorithm in (GLOO, "ring"):
                chunks = world_size  # more follow the same ways
            hops = self._rule().hops(world_size, chunks)
        order = self.order or range(world_size)
        return ((order[hop.sender], order[hop.receiver]) for hop in hops), chunks


@lru_cache(maxsize=256)
def _carried_s_byte(choice: Choice, network: Network) -> list[float]:
    return Routes(network).carried_s_byte(*choice.ways(network.size))


def _for_gloo(network: Network) -> Network:
    """The network on which Gloo's messages cost what they do."""
    hosts = (replace(host, message_s=GLOO_MESSAGES * host.message_s) for host in network.hosts)
    machines = (replace(it, message_s=GLOO_MESSAGES * it.message_s) for it in network.machines)
    return replace(network, hosts=tuple(hosts), machines=tuple(machines))


def known(name: str, network: Network, size_bytes: float) -> Choice:
    """A named algorithm, cut as its rule says and placed as the network suggests."""
    if name == GLOO:
        return gloo(network.size, size_bytes)
    chunks = collectives.chunks_for(name, network.size, size_bytes)
    return Choice(name, chunks, host_order(network))


def gloo(world_size: int, size_bytes: float) -> Choice:
    """Gloo's ring: each rank's share in two segments at least, none above 1 MiB."""
    segments = max(2, -(-int(size_bytes / world_size) // GLOO_SEGMENT_BYTES))
    return Choice(GLOO, world_size * segments)


def forest(network: Network, size_bytes: float, **search: int) -> Choice:
    """The network's own forest; `search` goes to `find_forest`."""
    found = find_forest(network, size_bytes, **search)
    if isinstance(found, Tree):
        return Choice(FOREST, found.chunks, tree=found)
    if isinstance(found, Grove):
        return Choice(FOREST, found.chunks, grove=found)
    return Choice(FOREST, found.chunks, forest=found)


def candidate_names(network: Network) -> Iterator[str]:
    """Every algorithm by name, those that take a number with what fits the network, and the backend's."""
    yield GLOO
    yield from collectives.names()
    sizes = {len(rack.hosts) for rack in network.racks}
    ports = [min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts]
    slow = sum(port < max(ports) / 2 for port in ports)
    if len(sizes) == 1:
        yield f"hierarchical:{sizes.pop()}"
    elif slow and not sizes:
        yield f"hierarchical:{network.size - slow}"
    if network.size > 3:
        yield f"kary_tree:{network.size - 1}"


def best_of(seconds: Mapping[str, float]) -> str:
    """The name with the least time; the backend's own unless another is faster by more than 3 %."""
    best = min(seconds, key=seconds.__getitem__)
    if GLOO in seconds and seconds[GLOO] <= WORTH_A_CHANGE * seconds[best]:
        return GLOO
    return best


def is_uneven(network: Network) -> bool:
    """Whether ports differ or hosts share uplinks, so that a forest may be worth it."""
    ports = [rate for host in network.hosts for rate in (host.up_bytes_s, host.down_bytes_s)]
    return bool(network.racks) or max(ports) > 1.1 * min(ports)
