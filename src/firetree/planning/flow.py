"""A discrete-event simulation of shared links and of queues of CPU work.

Flows share links max-min fairly. A host's CPU does one piece of work after another; hosts emulated on
one machine share its cores evenly. `simulate` runs schedules on it; nothing here knows of them.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial

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

    def run(self, settle: Done) -> None:
        """Run until no event is left; `settle(time_s)` follows when all events of a moment have run."""
        planned = self._planned
        settle(self.now_s)
        while planned:
            self.now_s, _, call = heapq.heappop(planned)
            call(self.now_s)
            if not planned or planned[0][0] > self.now_s:
                settle(self.now_s)


class _Flow:
    """Bytes on their way over `links`. When they are there, `done` is None, and others may follow them."""

    __slots__ = ("done", "left_bytes", "links", "rate_bytes_s", "since_s", "version")

    def __init__(self, links: tuple[int, ...]):
        self.links, self.version = links, 0
        self.left_bytes = self.rate_bytes_s = self.since_s = 0.0
        self.done: Done | None = None


class Links:
    """Links of given rates, in bytes a second; `settle` shares them once all events of a moment have run."""

    def __init__(self, clock: SimulatedClock):
        self._clock = clock
        self.rates_bytes_s: list[float] = []
        self.carried_bytes: list[float] = []
        self._flows: list[dict[_Flow, None]] = []
        self._over: dict[tuple[int, ...], list[_Flow]] = defaultdict(list)
        self._was_active: dict[_Flow, bool] = {}
        self._fair: dict[frozenset[_Flow], dict[_Flow, float]] = {}

    def add(self, rate_bytes_s: float) -> int:
        """Add a link and return its number for `send`."""
        self.rates_bytes_s.append(rate_bytes_s)
        self.carried_bytes.append(0.0)
        self._flows.append({})
        return len(self._flows) - 1

    def send(self, size_bytes: float, links: tuple[int, ...], done: Done) -> None:
        """Send bytes over all of these links at once, and call `done` when the last has arrived."""
        for link in links:
            self.carried_bytes[link] += size_bytes
        over = self._over[links]
        flow = over.pop() if over else _Flow(links)
        self._was_active.setdefault(flow, False)
        flow.left_bytes, flow.since_s, flow.done = size_bytes, self._clock.now_s, done

    def settle(self, now_s: float) -> None:
        """Update the rates of all flows that share links with one that has begun or ended.

        Where a flow has followed another over the same links, all others go on as they were.
        """
        if not self._was_active:
            return
        touched, self._was_active = self._was_active, {}
        changed = [flow for flow, was in touched.items() if was != (flow.done is not None)]
        for flow, rate in self._fair_rates(changed).items():
            if rate != flow.rate_bytes_s:
                flow.left_bytes -= (now_s - flow.since_s) * flow.rate_bytes_s
                flow.since_s, flow.rate_bytes_s = now_s, rate
                touched[flow] = True
        for flow in touched:
            if flow.done:
                flow.version += 1
                end_s = now_s + max(flow.left_bytes, 0.0) / flow.rate_bytes_s
                self._clock.at(end_s, partial(self._end, flow, flow.version))

    def _end(self, flow: _Flow, version: int, now_s: float) -> None:
        if flow.version == version and flow.done:
            done, flow.done = flow.done, None
            self._over[flow.links].append(flow)
            self._was_active.setdefault(flow, True)
            done(now_s)

    def _fair_rates(self, changed: Sequence[_Flow]) -> dict[_Flow, float]:
        """Pipelines come to the same flows again and again, so their rates are kept for a while."""
        flows = self._affected(changed)
        if (together := frozenset(flows)) not in self._fair:
            if len(self._fair) == _MOST_KEPT:
                self._fair.clear()
            crossed = {link: self.rates_bytes_s[link] for flow in flows for link in flow.links}
            rates = fair_rates([flow.links for flow in flows], crossed)
            self._fair[together] = dict(zip(flows, rates, strict=True))
        return self._fair[together]

    def _affected(self, changed: Sequence[_Flow]) -> list[_Flow]:
        """Put these onto their links, or take them off; return all that now share links with them."""
        links = dict[int, None]()
        for flow in changed:
            for link in flow.links:
                links[link] = None
                if flow.done:
                    self._flows[link][flow] = None
                else:
                    del self._flows[link][flow]
        ahead, flows = [*links], dict[_Flow, None]()
        for link in ahead:
            for flow in self._flows[link]:
                if flow not in flows:
                    flows[flow] = None
                    for other in flow.links:
                        if other not in links:
                            links[other] = None
                            ahead.append(other)
        return [*flows]


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
