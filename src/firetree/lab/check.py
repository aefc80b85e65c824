"""Measure what every link of a lab carries, so that figures made on it can be believed.

A link shows its rate only where the rest of the way carries more: so several hosts send to one, or
one to several, wherever there are enough. Links that share nothing are measured at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from firetree.lab.lab import Lab
from firetree.lab.traffic import Load, measure
from firetree.network import Network, format_rate

TOLERANCE = 0.03

_SURPLUS = 1.25
"""How much more than the link's rate its load can carry where possible, or a link that is too fast
would not be seen."""

_AT_ONCE_BYTES_S = 125e6
"""How much is measured at once: about what one core moves beside everything else."""

_REPEATS = 2
"""How often a link that is off is measured again."""


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """A link in one direction: `host 3 up`, `host 3 down`, `rack 1 uplink out`, `rack 1 uplink in`.

    `measured_bytes_s` is None where the other links cannot fill this one; `reason` says why.
    """

    link: str
    asked_bytes_s: float
    measured_bytes_s: float | None = None
    reason: str = ""

    @property
    def within(self) -> bool | None:
        """Whether measured and asked differ by at most 3 %; None where nothing was measured."""
        if self.measured_bytes_s is None:
            return None
        return _off(self.measured_bytes_s, self.asked_bytes_s) <= TOLERANCE


def check(lab: Lab) -> list[LinkCheck]:
    """Measure every link of a running lab in both directions; half a second each, at low rates more.

    Meant for a lab in which nothing else runs. A link that is off is measured again by itself, and
    the nearest figure stands: a busy machine disturbs a measurement, a wrong link stays wrong.
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


def render(checks: Sequence[LinkCheck]) -> str:
    """A plain table of the links: asked, measured, and by how much they differ."""
    rows = [("link", "asked", "measured", "off by")]
    for link in checks:
        asked = format_rate(link.asked_bytes_s)
        if link.measured_bytes_s is None:
            rows.append((link.link, asked, "-", link.reason))
        else:
            off = f"{link.measured_bytes_s / link.asked_bytes_s - 1:+.1%}"
            verdict = off if link.within else f"{off}  TOO FAR"
            rows.append((link.link, asked, format_rate(link.measured_bytes_s), verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{link:<{widths[0]}}  {asked:>{widths[1]}}  {measured:>{widths[2]}}  {verdict}"
        for link, asked, measured, verdict in rows
    )


def _loads(network: Network) -> Iterator[Load]:
    ports, racks, uplink_bytes_s = network.port_bytes_s, network.racks, network.uplink_bytes_s
    for host, rate_bytes_s in enumerate(ports):
        this = {host: math.inf}
        others = _reach(network, set(range(network.hosts)) - {host}, _rack_of(network)[host])
        yield _load(f"host {host} up", rate_bytes_s, this, others)
        yield _load(f"host {host} down", rate_bytes_s, others, this)
    for rack, hosts in enumerate(racks):
        assert uplink_bytes_s is not None
        inside = _reach(network, hosts, rack)
        outside = _reach(network, set(range(network.hosts)) - set(hosts))
        yield _load(f"rack {rack} uplink out", uplink_bytes_s, inside, outside)
        yield _load(f"rack {rack} uplink in", uplink_bytes_s, outside, inside)


def _rack_of(network: Network) -> dict[int, int]:
    racks = network.racks or (tuple(range(network.hosts)),)
    return {host: rack for rack, hosts in enumerate(racks) for host in hosts}


def _reach(network: Network, hosts: Iterable[int], rack: int | None = None) -> dict[int, float]:
    """What each host can exchange with one inside `rack`, or with the core, all at the same time.

    The nearest hosts come first, then the fastest; those that are left nothing of an uplink are out.
    """
    rack_of, ports = _rack_of(network), network.port_bytes_s
    left = dict.fromkeys([*rack_of.values(), rack], network.uplink_bytes_s or math.inf)
    left[None] = math.inf
    reach: dict[int, float] = {}
    for host in sorted(hosts, key=lambda host: (rack_of[host] != rack, -ports[host], host)):
        uplinks = {rack_of[host], rack} if rack_of[host] != rack else set()
        rate_bytes_s = min([ports[host], *(left[uplink] for uplink in uplinks)])
        for uplink in uplinks:
            left[uplink] -= rate_bytes_s
        if rate_bytes_s > 0:
            reach[host] = rate_bytes_s
    return reach


def _load(
    link: str, rate_bytes_s: float, senders: Mapping[int, float], receivers: Mapping[int, float]
) -> Load:
    """Pair senders and receivers until they carry more than the link does, as far as they can."""
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
    """Loads that are measured at once: no host and no uplink carries two of them."""
    rack_of = _rack_of(network)
    waiting = [*loads]
    while waiting:
        together: list[Load] = []
        used: set[tuple[str, int]] = set()
        for load in [*waiting]:
            crossings = [s for s in load.streams if rack_of[s[0]] != rack_of[s[1]]]
            uses = {("host", host) for stream in load.streams for host in stream}
            uses |= {("rack", rack_of[host]) for stream in crossings for host in stream}
            total_bytes_s = sum(other.rate_bytes_s for other in [*together, load])
            if not together or (used.isdisjoint(uses) and total_bytes_s <= _AT_ONCE_BYTES_S):
                together.append(load)
                waiting.remove(load)
                used |= uses
        yield together


def _off(measured_bytes_s: float, asked_bytes_s: float) -> float:
    return abs(measured_bytes_s / asked_bytes_s - 1)
