"""The time that a schedule takes on a network, by simulating every transfer of it.

A transfer costs its sender's CPU a message; then its bytes flow over the sender's port, the
uplinks between and the receiver's port at once, and are under way for the latency; then it costs the
receiver's CPU a message and, where it is added, the addition. Hosts that share a machine have
its cores do more for each message, beside what waits for it. `flow` moves and works, the schedule's
graph says what waits for what. On equal links without latency and costs the result is the closed form
of ring, chain, binomial tree, circulant graphs and parameter server, cut as their rules say; other
forms count steps at most, or give each flow a port of its own, and may lie on either side.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from firetree.collectives.graph import Graph, applied, build_graph, moved
from firetree.collectives.schedule import Schedule
from firetree.network.network import Network
from firetree.planning.flow import CPUs, Done, Links, SimulatedClock
from firetree.planning.routes import Routes

BUSY_SHARE = 0.5
"""A link that is in use for less of the time is not what limits a schedule."""

_AS_BUSY = 0.95
ALL_PORTS = "all ports"
"""What limits a schedule that keeps every port as busy, so that none of them is at fault."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a schedule takes, in seconds, and what limits it: a link, a CPU, or latency."""

    time_s: float
    limited_by: str


def price(schedule: Schedule, network: Network, size_bytes: float) -> Price:
    """Simulate an all-reduce (or another collective) of `size_bytes` in equal chunks.

    Raises:
        ValueError: the schedule is for another number of ranks than the network has hosts.
        ScheduleError: the schedule cannot run.
    """
    if schedule.world_size != network.size:
        raise ValueError(f"a schedule for {schedule.world_size} ranks on {network.size} hosts")
    with _no_garbage_collection():
        return _Simulation(build_graph(schedule), network, size_bytes / schedule.chunks).run()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A simulation makes many objects and leaves none behind; to look for garbage takes a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Simulation:
    """One run of a schedule, as the executor does it: a host takes in what comes first, if its turn has come."""

    def __init__(self, graph: Graph, network: Network, chunk_bytes: float):
        self._graph, self._network, self._chunk_bytes = graph, network, chunk_bytes
        self._clock = SimulatedClock()
        self._links = Links(self._clock)
        self._routes = Routes(network)
        for rate_bytes_s in self._routes.rates_bytes_s:
            self._links.add(rate_bytes_s)
        machine_of, cores = _machines(network)
        # Each host twice: for what messages wait for, and for what goes on beside them.
        self._processors = CPUs(self._clock, machine_of * 2, cores)
        self._beside_s = _beside_s(network)
        self._followers: list[list[int]] = [[] for _ in range(2 * len(graph.transfers))]
        self._next_children: list[list[int]] = [[] for _ in graph.transfers]
        self._missing: list[int] = []
        for t, causes in enumerate(_causes(graph)):
            self._missing += self._wait(moved(t), causes), len(graph.before_applying[t])
            for cause in graph.before_applying[t]:
                self._followers[cause].append(applied(t))
        for events in (*self._followers, *self._next_children):
            if len(events) > 1:
                events.sort(key=self._turn)
        self._arrived = [False] * len(graph.transfers)
        self._ready = [deque[int]() for _ in range(network.size)]
        self._taking_in = [False] * network.size
        self._end_s = 0.0

    def _wait(self, event: int, causes: Collection[int]) -> int:
        later = self._graph.transfers[event // 2]
        for cause in causes:
            earlier = self._graph.transfers[cause // 2]
            waits_for_sending = cause == moved(cause // 2) and later.sender == earlier.sender
            if waits_for_sending and later.receiver != earlier.receiver:
                self._next_children[cause // 2].append(event)  # another child gets the same chunk
            else:
                self._followers[cause].append(event)
        return len(causes)

    def run(self) -> Price:
        events = [moved(t) for t in range(len(self._arrived)) if not self._missing[moved(t)]]
        for event in sorted(events, key=self._turn):
            self._start(event // 2)
        self._clock.run(self._links.settle)
        return Price(self._end_s, self._limit())

    def _turn(self, event: int) -> tuple[bool, int]:
        """Of what may happen at once, sends come first and in program order, as in the executor."""
        return event % 2 == 1, self._graph.transfers[event // 2].send_index

    def _happen(self, event: int) -> None:
        self._go_on(self._followers[event])

    def _go_on(self, events: list[int]) -> None:
        for follower in events:
            self._missing[follower] -= 1
            if not self._missing[follower]:
                t = follower // 2
                if follower == moved(t):
                    self._start(t)
                else:
                    self._take_in(t)

    def _start(self, t: int) -> None:
        """Send a transfer on its way; that its bytes have gone is what `moved` means here.

        The next child is served once they have left the sender's port, though they may wait elsewhere.
        """
        transfer, network = self._graph.transfers[t], self._network
        ends = transfer.sender, transfer.receiver

        def send(now_s: float) -> None:
            route = self._routes.between(*ends)
            if children := self._next_children[t]:
                port_s = self._chunk_bytes / self._links.rates_bytes_s[route[0]]
                self._clock.at(now_s + port_s, lambda _: self._go_on(children))
            self._links.send(self._chunk_bytes, route, gone)

        def gone(now_s: float) -> None:
            self._clock.at(now_s + network.latency(*ends), arrived)
            self._happen(moved(t))

        def arrived(_: float) -> None:
            self._arrived[t] = True
            self._take_in(t)

        self._work(transfer.sender, 0.0, send)

    def _take_in(self, t: int) -> None:
        """Take in a transfer, and add it, once it is there and may be applied."""
        if not self._arrived[t] or self._missing[applied(t)]:
            return
        receiver = self._graph.transfers[t].receiver
        ready = self._ready[receiver]
        ready.append(t)
        # Work that takes no time is over at once, and asks for what comes next within itself.
        while len(ready) and not self._taking_in[receiver]:
            self._taking_in[receiver] = True
            t = ready.popleft()
            reduces = self._graph.transfers[t].reduces
            add_s = self._network.hosts[receiver].add_s * self._chunk_bytes if reduces else 0.0
            self._work(receiver, add_s, partial(self._applied, t))
            self._taking_in[receiver] = False

    def _work(self, host: int, more_s: float, done: Done) -> None:
        """Let a host's CPU handle an end of a message, and do `more_s` of work with it."""
        self._processors.work(host, self._network.hosts[host].message_s + more_s, done)
        if self._beside_s[host]:
            self._processors.work(self._network.size + host, self._beside_s[host])

    def _applied(self, t: int, now_s: float) -> None:
        self._end_s = max(self._end_s, now_s)
        self._happen(applied(t))

    def _limit(self) -> str:
        carried_s = [
            size_bytes / rate
            for size_bytes, rate in zip(
                self._links.carried_bytes, self._links.rates_bytes_s, strict=True
            )
        ]
        return limit(self._routes, carried_s, self._end_s, self._worked_s())

    def _worked_s(self) -> Iterator[tuple[str, float]]:
        """How long each CPU is in use; a host's and its machine's may have the same name."""
        size, worked = self._network.size, self._processors.worked_s
        hosts, beside = worked[:size], worked[size:]
        for host, worked_s in enumerate(hosts):
            yield f"{self._network.name(host)}'s CPU", worked_s
        for machine in self._network.machines:
            worked_s = sum(hosts[host] + beside[host] for host in machine.hosts)
            yield "the shared CPU", worked_s / machine.cores


def limit(
    routes: Routes,
    carried_s: Sequence[float],
    end_s: float,
    worked_s: Iterable[tuple[str, float]] = (),
) -> str:
    """The link or CPU in use for the largest part of the time, if that is large."""
    if not end_s:
        return "nothing"
    name, busy_s = max((*zip(routes.names, carried_s, strict=True), *worked_s), key=itemgetter(1))
    if busy_s < BUSY_SHARE * end_s:
        return "latency"
    if min(carried_s[port] for port in routes.ports) >= _AS_BUSY * busy_s:
        return ALL_PORTS
    return name


def _causes(graph: Graph) -> Iterator[list[int]]:
    """What each transfer waits for before it starts; the order of a channel follows from its sender."""
    before: dict[tuple[int, int], int] = {}
    for t, transfer in enumerate(graph.transfers):
        channel = transfer.sender, transfer.receiver
        landing = [cause for cause in graph.before_landing[t] if cause // 2 != before.get(channel)]
        before[channel] = t
        yield [*landing, *graph.before_sending[t]]


def _machines(network: Network) -> tuple[list[int], list[float]]:
    """For each host its machine, and each machine's cores; by default every host has its own."""
    if not network.machines:
        return list(range(network.size)), [1.0] * network.size
    machine_of = [0] * network.size
    for number, machine in enumerate(network.machines):
        for host in machine.hosts:
            machine_of[host] = number
    return machine_of, [machine.cores for machine in network.machines]


def _beside_s(network: Network) -> list[float]:
    """For each host what an end of a message costs its machine's cores beside the host's own work."""
    found = [0.0] * network.size
    for machine in network.machines:
        for host in machine.hosts:
            found[host] = machine.message_s
    return found
