"""A discrete-event simulation of shared links and of queues of CPU work.

Flows share links max-min fairly. A host's CPU does one piece of work after another; hosts emulated on
one machine share its cores evenly. `simulate` runs schedules on it; nothing here knows of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

from firetree.network.fair import fair_rates

Done = Callable[[float], None]

_MOST_KEPT = 1 << 12
"""Sets of flows whose rates are kept."""


class SimulatedClock:
    """Runs events in the order of their time; events at the same time run in the order of planning."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._planned: list[tuple[float, int, Done]] = []
        self._count = 0

    def at(self, time_s: float, call: Done) -> None:
        """Plan the event `call(time_s)`."""
        self._count += 1
        heapq.heappush(self._planned, (time_s, self._count, call))

    def run(self) -> None:
        """Run until no event is left."""
        while self._planned:
            self.now_s, _, call = heapq.heappop(self._planned)
            call(self.now_s)


class _Flow:
    __slots__ = ("done", "left_bytes", "links", "rate_bytes_s", "since_s", "version")

    def __init__(self, size_bytes: float, links: tuple[int, ...], now_s: float, done: Done):
        self.left_bytes, self.links, self.since_s, self.done = size_bytes, links, now_s, done
        self.rate_bytes_s, self.version = 0.0, 0


class Links:
    """Links of given rates, in bytes a second."""

    def __init__(self, clock: SimulatedClock):
        self._clock = clock
        self.rates_bytes_s: list[float] = []
        self.carried_bytes: list[float] = []
        self._flows: list[dict[_Flow, None]] = []
        self._fair: dict[tuple[tuple[int, ...], ...], list[float]] = {}

    def add(self, rate_bytes_s: float) -> int:
        """Add a link and return its number for `send`."""
        self.rates_bytes_s.append(rate_bytes_s)
        self.carried_bytes.append(0.0)
        self._flows.append({})
        return len(self._flows) - 1

    def send(self, size_bytes: float, links: Sequence[int], done: Done) -> None:
        """Send bytes over all of these links at once, and call `done` when the last has arrived."""
        now_s = self._clock.now_s
        for link in links:
            self.carried_bytes[link] += size_bytes
        flow = _Flow(size_bytes, tuple(links), now_s, done)
        for link in links:
            self._flows[link][flow] = None
        self._share(links)

    def _share(self, changed: Sequence[int]) -> None:
        """Update the rates of all flows that share links with one that has begun or ended."""
        now_s = self._clock.now_s
        flows = self._affected(changed)
        for flow, rate in zip(flows, self._fair_rates(flows), strict=True):
            if rate != flow.rate_bytes_s:
                flow.left_bytes -= (now_s - flow.since_s) * flow.rate_bytes_s
                flow.since_s, flow.rate_bytes_s = now_s, rate
                flow.version += 1
                self._plan_end(flow, flow.version, now_s + max(flow.left_bytes, 0.0) / rate)

    def _fair_rates(self, flows: Sequence[_Flow]) -> list[float]:
        """Pipelines come to the same flows again and again, so their rates are kept for a while."""
        routes = tuple([flow.links for flow in flows])
        if routes not in self._fair:
            if len(self._fair) == _MOST_KEPT:
                self._fair.clear()
            crossed = {link: self.rates_bytes_s[link] for route in routes for link in route}
            self._fair[routes] = fair_rates(routes, crossed)
        return self._fair[routes]

    def _affected(self, changed: Sequence[int]) -> list[_Flow]:
        links, flows = list(changed), dict[_Flow, None]()
        seen = set(changed)
        for link in links:
            for flow in self._flows[link]:
                if flow not in flows:
                    flows[flow] = None
                    for other in flow.links:
                        if other not in seen:
                            seen.add(other)
                            links.append(other)
        return list(flows)

    def _plan_end(self, flow: _Flow, version: int, time_s: float) -> None:
        def end(now_s: float) -> None:
            if flow.version != version:
                return
            for link in flow.links:
                del self._flows[link][flow]
            flow.version += 1
            self._share(flow.links)
            flow.done(now_s)

        self._clock.at(time_s, end)


def _nothing(_: float) -> None:
    return


class CPUs:
    """One CPU for each host, with a first-in-first-out queue of work.

    `machine_of[host]` is the machine whose cores it shares. With more busy hosts than cores, each runs at
    cores/hosts of its speed.
    """

    def __init__(self, clock: SimulatedClock, machine_of: Sequence[int], cores: Sequence[float]):
        self._clock, self._machine_of, self._cores = clock, machine_of, cores
        self._waiting: list[deque[tuple[float, Done]]] = [deque() for _ in machine_of]
        self._busy: list[dict[int, float]] = [{} for _ in cores]  # work left for each busy host
        self._since_s = [0.0] * len(cores)
        self._version = [0] * len(cores)
        self.worked_s = [0.0] * len(machine_of)

    def work(self, host: int, work_s: float, done: Done = _nothing) -> None:
        """Queue `work_s` seconds of work on the host, and call `done` when it is finished."""
        if work_s == 0 and not self._waiting[host]:
            done(self._clock.now_s)
            return
        self.worked_s[host] += work_s
        self._waiting[host].append((work_s, done))
        if len(self._waiting[host]) == 1:
            machine = self._machine_of[host]
            self._catch_up(machine)
            self._busy[machine][host] = work_s
            self._plan(machine)

    def _speed(self, machine: int) -> float:
        return min(1.0, self._cores[machine] / len(self._busy[machine]))

    def _catch_up(self, machine: int) -> None:
        busy = self._busy[machine]
        if busy:
            worked_s = (self._clock.now_s - self._since_s[machine]) * self._speed(machine)
            for host in busy:
                busy[host] -= worked_s
        self._since_s[machine] = self._clock.now_s

    def _plan(self, machine: int) -> None:
        busy = self._busy[machine]
        self._version[machine] += 1
        if not busy:
            return
        version, first = self._version[machine], min(busy, key=busy.__getitem__)

        def end(now_s: float) -> None:
            if version == self._version[machine]:
                self._catch_up(machine)
                self._finish(machine, first, now_s)

        self._clock.at(self._clock.now_s + max(busy[first], 0.0) / self._speed(machine), end)

    def _finish(self, machine: int, host: int, now_s: float) -> None:
        _, done = self._waiting[host].popleft()
        if self._waiting[host]:
            self._busy[machine][host] = self._waiting[host][0][0]
        else:
            del self._busy[machine][host]
        self._plan(machine)
        done(now_s)
