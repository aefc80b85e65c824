"""What kind of network has such rates at all: told only where all ports were measured surely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median, quantiles

from firetree.network import format_duration
from firetree.network.units import format_rounded_rate
from firetree.probing.observations import Observations
from firetree.probing.result import Probe

_ETHERNET = {
    "10 Mbit/s": 1.25e6,
    "100 Mbit/s": 12.5e6,
    "1 Gbit/s": 125e6,
    "2.5 Gbit/s": 312.5e6,
    "10 Gbit/s": 1.25e9,
}
_SLOW = ("10 Mbit/s", "100 Mbit/s")
_PAYLOAD, _MOST = 0.88, 1.01
"""The payload's part of a wire's rate: 0.94 with full packets, less with tags and tunnels."""
_ALIKE = 1.1
_SURE, _VARIES = 0.05, 0.1
"""Half an interval, as a part of its middle."""
_AIR_S, _AIR_SPREAD = 1e-3, 2.0
"""Wi-Fi's messages take this long at least, and its slow ones this many times as long as its fast ones."""


def remark(found: Probe, observed: Observations) -> str:
    """What such rates mean, in a sentence; empty where nothing can be said for sure."""
    spread = max((_half_width(ends) for ends in found.intervals.values()), default=0.0)
    if spread > _VARIES and (times := _times_over_the_air(observed)):
        return (
            f"rates change by up to {spread:.0%} and messages take {times}, as over Wi-Fi or a busy "
            "line between sites: a cable between the hosts would be faster"
        )
    rates = [rate for figure, rate in _ports(found) if figure not in found.at_least]
    over_loopback = {*observed.interface_of.values()} == {"lo"}
    if over_loopback or spread > _SURE or not rates or max(rates) > _ALIKE * min(rates):
        return ""
    return _of_rate(median(rates), found.network.size, _interface(observed))


def _of_rate(rate_bytes_s: float, hosts: int, interface: str) -> str:
    carries = f"{format_rounded_rate(rate_bytes_s)}"
    told = f"both ports carry {carries}" if hosts == 2 else f"all ports carry {carries}"
    kinds = [
        kind
        for kind, wire_bytes_s in _ETHERNET.items()
        if _PAYLOAD * wire_bytes_s <= rate_bytes_s <= _MOST * wire_bytes_s
    ]
    if kinds and kinds[0] in _SLOW:
        return f"{told}: a {kinds[0]} switch, cable or port; check with `ethtool {interface}`"
    if kinds:
        return f"{told}, as {kinds[0]} Ethernet does"
    limits = "a limit set on the hosts, a VPN, Wi-Fi, or a line between sites"
    if rate_bytes_s < _ETHERNET["100 Mbit/s"]:
        return f"{told}, less than any wired Ethernet of today: {limits}"
    if rate_bytes_s < _ETHERNET["10 Gbit/s"]:
        return f"{told}, and wired Ethernet has no such rate: {limits}, or busy CPUs"
    return ""


def _ports(found: Probe) -> Iterator[tuple[str, float]]:
    for number, host in enumerate(found.network.hosts):
        yield f"{found.network.name(number)} up", host.up_bytes_s
        yield f"{found.network.name(number)} down", host.down_bytes_s


def _half_width(ends: tuple[float, float]) -> float:
    low, high = ends
    return (high - low) / (high + low) if high else 0.0


def _interface(observed: Observations) -> str:
    """The interface that most hosts have."""
    [(name, _)] = Counter(filter(None, observed.interface_of.values())).most_common(1) or [
        ("eth0", 1)
    ]
    return name


def _times_over_the_air(observed: Observations) -> str:
    """`2 ms to 6 ms` where messages are as late and as uneven as over Wi-Fi, else nothing."""
    machines = {*observed.machine_of.values()}
    ends = [
        (tenths[0] / 2, tenths[-1] / 2)
        for times_s in observed.echoes_s.values()
        if len(times_s) > 1 and (tenths := quantiles(times_s, n=10))
    ]
    if len(machines) < len(observed.machine_of) or not ends:
        return ""  # processes that share a machine wait for its cores
    low_s, high_s = (median(times_s) for times_s in zip(*ends, strict=True))
    if high_s < _AIR_S or high_s < _AIR_SPREAD * low_s:
        return ""
    return f"{format_duration(low_s)} to {format_duration(high_s)}"
