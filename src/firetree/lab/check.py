"""Measure the rate of every link of a lab, to validate measurements made on it.

A link's rate is visible only if the rest of the path is faster. So several hosts send to one, or one to
several, if there are enough. Links that share nothing are measured at the same time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from firetree.lab.lab import Lab
from firetree.lab.traffic import Load, measure
from firetree.network import Network, format_rate, rack_of

TOLERANCE = 0.03

_SURPLUS = 1.25
"""The load's capacity relative to the link's rate, if possible; it reveals links that are too fast."""

_AT_ONCE_BYTES_S = 125e6
"""The most traffic measured at once: about what one core can handle."""

_REPEATS = 2
"""How often a link with a wrong rate is measured again."""


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """A link in one direction: `host 3 up`, `host 3 down`, `rack 1 uplink out`, `rack 1 uplink in`.

    `measured_bytes_s` is None if the other links cannot fill this one; `reason` says why.
    """

    link: str
    asked_bytes_s: float
    measured_bytes_s: float | None = None
    reason: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the measured rate is within 3 % of the rate asked for; None if it was not measured."""
        if self.measured_bytes_s is None:
            return None
        return _off(self.measured_bytes_s, self.asked_bytes_s) <= TOLERANCE


def check(lab: Lab) -> list[LinkCheck]:
    """Measure every link of a running lab in both directions: half a second each, longer at low rates.

    Nothing else should run in the lab. A link with a wrong rate is measured again alone, and the closest
    figure counts: a busy machine disturbs single measurements, but a wrong link stays wrong.
    """
    loads = [*_loads(lab.network)]
    measured: dict[Load, float] = {}
    for together in _rounds(lab.network, [load for load in loads if load.streams]):
        measured |= zip(together, measure(lab, together), strict=True)
    for load in [*measured] * _REPEATS:
        if _off(measured[load], load.rate_bytes_s) > TOLERANCE:
            [again] = measure(lab, [load])
            if _off(again, load.rate_bytes_s) < _off(measured[load], load.rate_bytes_s):
                measured[load] = again
    return [
        LinkCheck(load.link, load.rate_bytes_s, measured.get(load), load.reason) for load in loads
    ]


def _loads(network: Network) -> Iterator[Load]:
    everyone, racks = range(network.size), rack_of(network)
    for number, host in enumerate(network.hosts):
        this = {number: math.inf}
        others = {*everyone} - {number}
        receivers = _reach(network, others, "receive", racks[number])
        senders = _reach(network, others, "send", racks[number])
        yield _load(f"host {number} up", host.up_bytes_s, this, receivers)
        yield _load(f"host {number} down", host.down_bytes_s, senders, this)
    for number, rack in enumerate(network.racks):
        inside, outside = rack.hosts, {*everyone} - {*rack.hosts}
        senders = _reach(network, inside, "send", number)
        receivers = _reach(network, outside, "receive")
        yield _load(f"rack {number} uplink out", rack.out_bytes_s, senders, receivers)
        senders = _reach(network, outside, "send")
        receivers = _reach(network, inside, "receive", number)
        yield _load(f"rack {number} uplink in", rack.in_bytes_s, senders, receivers)


def _reach(
    network: Network,
    hosts: Iterable[int],
    task: Literal["send", "receive"],
    rack: int | None = None,
) -> dict[int, float]:
    """The rate at which each host can send into `rack`, or to the core, all at once; or receive from it.

    Hosts of that rack come first, then the fastest. Hosts for which no uplink rate remains are left out.
    """
    racks, sends = rack_of(network), task == "send"
    ports = [host.up_bytes_s if sends else host.down_bytes_s for host in network.hosts]
    # Traffic that leaves the senders' racks by `out` enters the receivers' rack by `in`.
    left: dict[int | None, float] = {
        number: link.out_bytes_s if sends == (number != rack) else link.in_bytes_s
        for number, link in enumerate(network.racks)
    }
    reach: dict[int, float] = {}
    for host in sorted(hosts, key=lambda host: (racks[host] != rack, -ports[host], host)):
        uplinks = ({racks[host], rack} if racks[host] != rack else set()) & left.keys()
        rate_bytes_s = min([ports[host], *(left[uplink] for uplink in uplinks)])
        for uplink in uplinks:
            left[uplink] -= rate_bytes_s
        if rate_bytes_s > 0:
            reach[host] = rate_bytes_s
    return reach


def _load(
    link: str, rate_bytes_s: float, senders: Mapping[int, float], receivers: Mapping[int, float]
) -> Load:
    """Pair senders and receivers until their rates exceed the link's, as far as possible."""
    streams: list[tuple[int, int]] = []
    sending, receiving = dict(senders), dict(receivers)
    wanted = _SURPLUS * rate_bytes_s
    for sender, receiver in itertools.product(senders, receivers):
        carried = min(sending[sender], receiving[receiver], wanted)
        if carried > 0:
            streams.append((sender, receiver))
            sending[sender] -= carried
            receiving[receiver] -= carried
            wanted -= carried
    most_bytes_s = _SURPLUS * rate_bytes_s - wanted
    if most_bytes_s < rate_bytes_s * (1 - 1e-9):
        reason = f"the rest of the way carries {format_rate(most_bytes_s)} only"
        return Load(link, rate_bytes_s, reason=reason)
    return Load(link, rate_bytes_s, tuple(streams))


def _rounds(network: Network, loads: Iterable[Load]) -> Iterator[list[Load]]:
    """Groups of loads to measure at once; no two of a group share a host or an uplink."""
    racks = rack_of(network)
    waiting = [*loads]
    while waiting:
        together: list[Load] = []
        used: set[tuple[str, int]] = set()
        for load in [*waiting]:
            crossings = [s for s in load.streams if racks[s[0]] != racks[s[1]]]
            uses = {("host", host) for stream in load.streams for host in stream}
            uses |= {("rack", racks[host]) for stream in crossings for host in stream}
            total_bytes_s = sum(other.rate_bytes_s for other in [*together, load])
            if not together or (used.isdisjoint(uses) and total_bytes_s <= _AT_ONCE_BYTES_S):
                together.append(load)
                waiting.remove(load)
                used |= uses
        yield together


def _off(measured_bytes_s: float, asked_bytes_s: float) -> float:
    return abs(measured_bytes_s / asked_bytes_s - 1)
