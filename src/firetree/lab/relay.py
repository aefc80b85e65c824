"""A switch in user space, which delays and loses packets: a process that `taps` starts for a lab.

Run as `python -m firetree.lab.relay NETWORK FD …` with a network's JSON and each host's TAP device. It
reads what every host sends, at the rate to which the host's own port is limited, and writes it to whom
it is for. It says once that it is ready, and hears `rate 3 6250000.0`, `cut 3` and `join 3`, each on a line of its
own. It ends when stdin does.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import itertools
import math
import os
import random
import select
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO

from firetree.lab.frames import ETHERNET_AT, MOST_BYTES, packets_of, part
from firetree.lab.topology import WIRE_BYTES_PER_PAYLOAD, host_of
from firetree.network import Network, from_json, rack_of

QUEUE_S = 0.2
"""The longest that a frame may wait at a link; what would wait longer is dropped."""

_ACKNOWLEDGEMENT_BYTES = 66
"""A TCP acknowledgement without data, which passes a link first. Other small packets keep their turn: TCP
takes those that overtake data of their own connection for a loss of it."""

_BATCH = 16
"""Frames taken from one host before the next one's turn."""

_SEED = 1


class _Link:
    """A link's rate and its queue, of which only the end is known: when all that has come will have passed."""

    __slots__ = ("_free_s", "byte_s")

    def __init__(self, rate_bytes_s: float) -> None:
        self._free_s = 0.0
        self.limit(rate_bytes_s)

    def limit(self, rate_bytes_s: float) -> None:
        self.byte_s = 1 / (rate_bytes_s * WIRE_BYTES_PER_PAYLOAD)

    def passed_s(self, now_s: float, size_bytes: int) -> float | None:
        """When a frame that comes now has passed; None if the queue is full."""
        start_s = max(now_s, self._free_s)
        if start_s - now_s > QUEUE_S:
            return None
        taken_s = size_bytes * self.byte_s
        self._free_s = start_s + taken_s
        return now_s + taken_s if size_bytes == _ACKNOWLEDGEMENT_BYTES else self._free_s


@dataclass(slots=True)
class _Route:
    """The way from one host to another. `losses` says how many packets come through before each that does not."""

    sender: int
    receiver: int
    links: Sequence[_Link]
    latency_s: float
    losses: Iterator[int]
    jitters_s: Iterator[float]
    before_loss: int = field(init=False)
    latest_s: dict[bool, float] = field(default_factory=lambda: {False: 0.0, True: 0.0})

    def __post_init__(self) -> None:
        self.before_loss = next(self.losses)

    def spared(self, frame: bytes, packets: int) -> Iterator[bytes]:
        """What is left of a frame: lost packets are cut out of it."""
        first = 0
        while packets - first > self.before_loss:
            lost = first + self.before_loss
            if self.before_loss:
                yield part(frame, first, lost)
            first = lost + 1
            self.before_loss = next(self.losses)
        self.before_loss -= packets - first
        if first < packets:
            yield part(frame, first, packets) if first else frame

    def arrives_s(self, left_s: float, size_bytes: int) -> float:
        """When a frame that has passed the last link is there: in order, whatever the jitter."""
        is_first = size_bytes == _ACKNOWLEDGEMENT_BYTES
        due_s = left_s + self.latency_s + next(self.jitters_s)
        self.latest_s[is_first] = max(self.latest_s[is_first], due_s)
        return self.latest_s[is_first]


_Passing = tuple[float, int, bytes, int, _Route, int]
"""When a frame is due and its number; the frame and its size on a wire; its way and the links it has passed."""


class _Switch:
    """Every host's TAP device, and all frames that are on their way."""

    def __init__(self, network: Network, taps: Sequence[int]) -> None:
        self._taps = taps
        self._host_of = {tap: host for host, tap in enumerate(taps)}
        self._down = [_Link(host.down_bytes_s) for host in network.hosts]
        self._routes = _routes(network, self._down)
        self._passing: list[_Passing] = []
        self._numbers = itertools.count()
        self._cut: set[int] = set()

    def run(self) -> None:
        """Carry frames until stdin ends."""
        told = FileIO(0)
        sources = [told.fileno(), *self._taps]
        while True:
            wait_s = max(0.0, self._passing[0][0] - time.monotonic()) if self._passing else None
            for ready in select.select(sources, [], [], wait_s)[0]:
                if ready == told.fileno():
                    if not (line := told.readline()):
                        return
                    self._obey(*line.decode().split())
                else:
                    self._take(self._host_of[ready])
            self._go_on()

    def _obey(self, action: str, host: str, *rate: str) -> None:
        if action == "rate":
            self._down[int(host)].limit(float(rate[0]))
        elif action == "cut":
            self._cut.add(int(host))
        else:
            self._cut.discard(int(host))

    def _take(self, sender: int) -> None:
        for _ in range(_BATCH):
            try:
                frame = os.read(self._taps[sender], MOST_BYTES)
            except BlockingIOError:
                return
            for route in self._ways(sender, frame):
                for left in route.spared(frame, packets_of(frame)[0]):
                    self._pass_on(time.monotonic(), left, packets_of(left)[1], route, 0)

    def _ways(self, sender: int, frame: bytes) -> Sequence[_Route]:
        routes = self._routes[sender]
        if frame[ETHERNET_AT] & 1:  # to all
            return [*routes.values()]
        receiver = host_of(frame[ETHERNET_AT : ETHERNET_AT + 6])
        return [routes[receiver]] if receiver in routes else []

    def _pass_on(
        self, now_s: float, frame: bytes, size_bytes: int, route: _Route, passed: int
    ) -> None:
        """Send a frame over the next link of its way."""
        due_s = route.links[passed].passed_s(now_s, size_bytes)
        if due_s is None:
            return
        passed += 1
        if passed == len(route.links):
            due_s = route.arrives_s(due_s, size_bytes)
        passing = due_s, next(self._numbers), frame, size_bytes, route, passed
        heapq.heappush(self._passing, passing)

    def _go_on(self) -> None:
        while self._passing and self._passing[0][0] <= time.monotonic():
            due_s, _, frame, size_bytes, route, passed = heapq.heappop(self._passing)
            if passed < len(route.links):
                self._pass_on(due_s, frame, size_bytes, route, passed)
            elif not {route.sender, route.receiver} & self._cut:
                with contextlib.suppress(OSError):  # the host has set its interface down
                    os.write(self._taps[route.receiver], frame)


def _routes(network: Network, down: Sequence[_Link]) -> list[dict[int, _Route]]:
    """For each host its ways to the others."""
    racks, hosts = rack_of(network), range(network.size)
    out = [_Link(rack.out_bytes_s) for rack in network.racks]
    into = [_Link(rack.in_bytes_s) for rack in network.racks]
    medium = [_Link(network.medium_bytes_s)] if network.has_medium else []

    def way(sender: int, receiver: int) -> _Route:
        one, other = racks[sender], racks[receiver]
        uplinks = [out[one], into[other]] if one != other else []
        loss = network.loss[sender][receiver] if network.loss else 0.0
        chance = random.Random(f"{_SEED} {sender} {receiver}")
        return _Route(
            sender,
            receiver,
            (*medium, *uplinks, down[receiver]),
            network.latency(sender, receiver),
            _gaps(loss, chance),
            _uniform(network.jitter_s, chance),
        )

    return [{b: way(a, b) for b in hosts if b != a} for a in hosts]


def _gaps(loss: float, chance: random.Random) -> Iterator[int]:
    """How many packets come through before each that is lost, where each is lost with this chance."""
    while True:
        yield int(math.log(1 - chance.random()) / math.log1p(-loss)) if loss else sys.maxsize


def _uniform(most: float, chance: random.Random) -> Iterator[float]:
    while True:
        yield most * chance.random()


def main(network: str, *taps: str) -> None:
    """Be the switch of a network, given as JSON, with these descriptors of TAP devices."""
    gc.disable()  # nothing here refers to itself
    with contextlib.suppress(OSError):  # as links do, it comes before what hosts compute
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    descriptors = [int(tap) for tap in taps]
    for descriptor in descriptors:
        os.set_blocking(descriptor, False)
    switch = _Switch(from_json(network), descriptors)
    print("ready", flush=True)
    switch.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
