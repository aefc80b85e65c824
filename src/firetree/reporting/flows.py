"""What went between hosts, and how fast while it went, as the ranks' kernels say.

A rank's connections are matched with the other ends' by their addresses, so all-reduces of Gloo and NCCL
are told too. A flow's rate is its bytes over the time in which something was on its way and neither end's
buffers were full. Ranks on one host are one place: what they tell each other crosses no link.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np

from firetree.reporting.rounds import StepTable, Times
from firetree.reporting.thresholds import LARGE_SHARE, LEAST_LINK_BYTES, LEAST_LINK_S, SURE_LINK_S
from firetree.trace import ConnectionSpan, StepTrace, TraceHeader, WireSpan
from firetree.wires.tcp_info import TcpInfo

Place = int
"""A host, by a number."""

Route = tuple[Place, Place]
"""From one place to another."""


@dataclass(frozen=True, slots=True)
class Flow:
    """All bytes of one way. `busy_share` is the part of the time of sums in which they were under way.

    `shared` is by how much other flows of the same ports may have slowed this one: 2 with one as large at the
    same time. `queue_s` is what a round trip takes beyond the shortest: packets wait in a queue before the
    slowest point of the way. `swing` is the mean deviation of round trips, as a part of one.
    """

    rate_bytes_s: float
    size_bytes: float
    busy_share: float
    shared: float
    rtt_s: float | None = None
    retransmitted: float | None = None
    queue_s: float | None = None
    swing: float | None = None


def places_of(headers: Sequence[TraceHeader]) -> list[int]:
    """For each rank the number of its host, by the order of their first ranks.

    Hosts are told apart by their addresses; where there are none by their names, and else by the ranks.
    """
    names = [_place_name(header) for header in headers]
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]


def _place_name(header: TraceHeader) -> str:
    if header.address and not _is_own(header.address):
        return header.address
    return header.host or (header.address if header.world_size > 1 else "") or str(header.rank)


def _is_own(address: str) -> bool:
    """Whether an address means the host itself."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return not address


def flows_of(
    rounds: StepTable, headers: Sequence[TraceHeader], places: Sequence[int]
) -> dict[Route, Flow]:
    """The flows between places over some rounds; empty where the kernel was not asked, or nothing moved."""
    readings = defaultdict[Route, list[_Reading]](list)
    owners = _owners(rounds)
    by_address = {
        header.address: place
        for header, place in zip(headers, places, strict=True)
        if header.address
    }
    began_s = min(step.start_s for step in rounds.steps[0])
    for rank, place in enumerate(places):
        sums = _Sums(rounds, rank)
        for peer, reading in _readings(rounds, rank, sums, places, owners, by_address):
            if peer != place:
                readings[place, peer].append(reading)
    kept = {way: _of_these_rounds(found, began_s) for way, found in readings.items()}
    return dict(_flows(kept))


@dataclass(frozen=True, slots=True)
class _Reading:
    """One connection over one span: `window_s` is for how long its rank summed in it."""

    start_s: float
    acked_bytes: int
    busy_s: float
    window_s: float
    rtt_s: float | None
    queue_s: float | None
    swing: float | None
    sent_bytes: int
    retransmitted_bytes: int | None


class _Sums:
    """For how long a rank's sums were under way between two moments."""

    def __init__(self, rounds: StepTable, rank: int):
        steps = [one[rank] for one in rounds.steps]
        spans_s = [_summing_s(one, rank) for one in rounds.steps] * rounds.weights
        self._ends_s = np.array([_end_s(step) for step in steps])
        self._before_s: Times = np.concatenate(([0.0], np.cumsum(spans_s)))

    def within(self, start_s: float, end_s: float) -> float:
        first, last = np.searchsorted(self._ends_s, [start_s, end_s], side="right")
        return float(self._before_s[last] - self._before_s[first])


def _end_s(step: StepTrace) -> float:
    """When a step's last sum was there."""
    return max([step.start_s, *(bucket.end_s for bucket in step.buckets)])


def _summing_s(one: Sequence[StepTrace], rank: int) -> float:
    """For how long some bucket of a rank was being summed, which begins once all ranks have it."""
    came_s = defaultdict[tuple[int, int], float](lambda: float("-inf"))
    for step in one:
        for bucket in step.buckets:
            key = bucket.model, bucket.index
            came_s[key] = max(came_s[key], bucket.start_s)
    spans = [(came_s[it.model, it.index], it.end_s) for it in one[rank].buckets]
    summing_s, until_s = 0.0, float("-inf")
    for start_s, end_s in sorted(spans):
        summing_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return summing_s


def _owners(rounds: StepTable) -> Mapping[str, int]:
    """The rank at each connection's local end."""
    return {
        connection.local: rank
        for one in rounds.steps
        for rank, step in enumerate(one)
        for connection in step.connections
        if not _is_own(_host_of(connection.local))
    }


def _host_of(end: str) -> str:
    """The address of `10.0.0.1:4455`."""
    return end.rpartition(":")[0].strip("[]")


def _readings(
    rounds: StepTable,
    rank: int,
    sums: _Sums,
    places: Sequence[int],
    owners: Mapping[str, int],
    by_address: Mapping[str, int],
) -> Iterator[tuple[int, _Reading]]:
    """The place that each of a rank's connections leads to, and what the kernel says of it."""
    for one in rounds.steps:
        for peer, span in _spans(one[rank], places, owners, by_address):
            window_s = sums.within(span.start_s, span.end_s)
            if reading := _reading(span.tcp, span.start_s, window_s):
                yield peer, reading


def _spans(
    step: StepTrace,
    places: Sequence[Place],
    owners: Mapping[str, int],
    by_address: Mapping[str, Place],
) -> Iterator[tuple[Place, ConnectionSpan | WireSpan]]:
    """All connections of a process, or our own wires where it tells of these alone."""
    for it in step.connections:
        host = _host_of(it.remote)
        place = places[owners[it.remote]] if it.remote in owners else by_address.get(host)
        if place is not None and not _is_own(host):
            yield place, it
    if not step.connections:
        for wire in step.wires:
            if wire.peer < len(places):
                yield places[wire.peer], wire


def _reading(tcp: TcpInfo, start_s: float, window_s: float) -> _Reading | None:
    if not tcp.acked_bytes or tcp.busy_s is None:
        return None
    held_s = (tcp.rwnd_limited_s or 0.0) + (tcp.sndbuf_limited_s or 0.0)
    busy_s = max(tcp.busy_s - held_s, 1e-6)
    sent_bytes = tcp.sent_bytes or tcp.acked_bytes
    queue_s, swing = None, None
    if tcp.rtt_s is not None and tcp.min_rtt_s is not None:
        queue_s = max(0.0, tcp.rtt_s - tcp.min_rtt_s)
    if tcp.rtt_s and tcp.rttvar_s is not None:
        swing = tcp.rttvar_s / tcp.rtt_s
    return _Reading(
        start_s,
        tcp.acked_bytes,
        busy_s,
        window_s,
        tcp.rtt_s,
        queue_s,
        swing,
        sent_bytes,
        tcp.retransmitted_bytes,
    )


def _of_these_rounds(readings: list[_Reading], began_s: float) -> list[_Reading]:
    """Those that began with these rounds; if there are none, all: each counts from the one before."""
    return [it for it in readings if it.start_s >= began_s] or readings


def _flows(readings: Mapping[Route, list[_Reading]]) -> Iterator[tuple[Route, Flow]]:
    busy_s = {way: sum(it.busy_s for it in found) for way, found in readings.items()}
    sizes = {way: sum(it.acked_bytes for it in found) for way, found in readings.items()}
    windows_s = {way: sum(it.window_s for it in found) for way, found in readings.items()}
    for way, found in readings.items():
        size_bytes = sizes[way]
        if size_bytes < LEAST_LINK_BYTES or busy_s[way] < LEAST_LINK_S:
            continue
        window_s = windows_s[way]
        large = [other for other, moved in sizes.items() if moved >= LARGE_SHARE * size_bytes]
        beside = [sum(busy_s[other] for other in large if other[end] == way[end]) for end in (0, 1)]
        most_s = max(window_s, busy_s[way])
        again = [it.retransmitted_bytes for it in found if it.retransmitted_bytes is not None]
        yield (
            way,
            Flow(
                _usual_rate(found),
                size_bytes,
                min(1.0, busy_s[way] / window_s) if window_s else 0.0,
                max(1.0, *(seconds / most_s for seconds in beside)),
                _median(it.rtt_s for it in found),
                sum(again) / sum(it.sent_bytes for it in found) if again else None,
                _median(it.queue_s for it in found),
                _median(it.swing for it in found),
            ),
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _usual_rate(readings: Sequence[_Reading]) -> float:
    """The median rate, each reading with the weight of its bytes: a pause in one does not count.

    Readings over a few ticks of the kernel's clock are unsure each, and sure in the mean.
    """
    size_bytes, busy_s = sum(it.acked_bytes for it in readings), sum(it.busy_s for it in readings)
    if busy_s < SURE_LINK_S * len(readings):
        return size_bytes / busy_s
    rates = sorted((it.acked_bytes / it.busy_s, it.acked_bytes) for it in readings)
    half = sum(size_bytes for _, size_bytes in rates) / 2
    for rate, size_bytes in rates:
        half -= size_bytes
        if half <= 0:
            return rate
    return rates[-1][0]
