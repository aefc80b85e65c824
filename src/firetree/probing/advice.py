"""Warnings about hosts and links of a measured network, a line each; a clean network has none.

What kind of network has such rates at all is for `kinds`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_high
from typing import Literal

from firetree.network import Network, Rack, format_duration
from firetree.network.units import format_rounded_rate
from firetree.probing.conclude import host_names
from firetree.probing.observations import Observations
from firetree.probing.result import Probe

_SLOWER = 1.25
"""A port or CPU gets a warning where it is this many times slower than the others'."""
_LATER, _LATER_S = 3.0, 300e-6
"""A host's latency gets a warning at this many times the others', and this many seconds above it."""
_WIDE = 0.15
_SHARED = 0.95

Intervals = Mapping[str, tuple[float, float]]


def warnings(found: Probe, observed: Observations) -> list[str]:
    """The warnings about a probe's figures, missing hosts first."""
    network, names = found.network, host_names(observed)
    return [
        *_missing(found.unmeasured, names),
        *_cut_off(observed.unreachable, names),
        *_slow_ports(found),
        *_shared_medium(network),
        *_shared_links(found),
        *_slow_connections(found),
        *_slow_cpus(network),
        *_late_hosts(_soonest(observed), names),
        *_over_the_air(observed, names),
        *_unsure(found.intervals),
    ]


def _missing(unmeasured: Sequence[int], names: Mapping[int, str]) -> Iterator[str]:
    for rank in unmeasured:
        yield (
            f"{names.get(rank, f'host {rank}')} did not answer and was not measured: is it up, and "
            f"reachable from {names.get(0, 'host 0')}?"
        )


def _cut_off(unreachable: Sequence[tuple[int, int]], names: Mapping[int, str]) -> Iterator[str]:
    if unreachable:
        (a, b), *rest = sorted(unreachable)
        more = f", nor can {len(rest)} more pairs" if rest else ""
        yield f"{names[a]} cannot connect to {names[b]}{more}: a firewall between them, or no route"


def _slow_ports(found: Probe) -> Iterator[str]:
    network = found.network
    if network.size == 2:
        yield from _slow_direction(network, found.intervals)
        return
    for number in range(network.size):
        sends, receives = (_direction(found, number, way) for way in ("up", "down"))
        if not (sends.is_slow and receives.is_slow):
            yield from _one_way(network.name(number), sends, receives)
        elif max(sends.rate, receives.rate) < _SLOWER * min(sends.rate, receives.rate):
            slower = max(sends.times_slower, receives.times_slower)
            yield (
                f"{network.name(number)}'s port is {slower:.1f}x slower than the others "
                f"({_of(min(sends.rate, receives.rate), sends.usual)}): a bad cable, "
                f"or a {_slower_kind(max(sends.rate, receives.rate))}"
            )
        else:
            yield (
                f"{network.name(number)} sends {format_rounded_rate(sends.rate)} and receives "
                f"{format_rounded_rate(receives.rate)}, where others send "
                f"{format_rounded_rate(sends.usual)} and receive "
                f"{format_rounded_rate(receives.usual)}: an asymmetric line, or limits on both"
            )


@dataclass(frozen=True, slots=True)
class _Direction:
    """One direction of a port in bytes a second: its rate, its interval's end, and the others' usual rate."""

    rate: float
    at_most: float
    usual: float
    is_at_least: bool

    @property
    def times_slower(self) -> float:
        return self.usual / self.rate

    @property
    def is_slow(self) -> bool:
        """Whether it surely is: a lower limit says nothing, nor do measurements that differ as much."""
        return not self.is_at_least and self.usual >= _SLOWER * self.at_most


def _direction(found: Probe, number: int, way: Literal["up", "down"]) -> _Direction:
    rates = [host.up_bytes_s if way == "up" else host.down_bytes_s for host in found.network.hosts]
    figure = f"{found.network.name(number)} {way}"
    # Of two others, the faster one is usual.
    usual = median_high([rate for other, rate in enumerate(rates) if other != number])
    _, at_most = found.intervals.get(figure, (0.0, rates[number]))
    return _Direction(rates[number], at_most, usual, figure in found.at_least)


def _one_way(name: str, sends: _Direction, receives: _Direction) -> Iterator[str]:
    for verb, other, slow, fast, way in (
        ("sends", "receives", sends, receives, "from"),
        ("receives", "sends", receives, sends, "to"),
    ):
        if slow.is_slow:
            as_fast = f" and {other} as fast as they do" if fast.times_slower < _SLOWER else ""
            yield (
                f"{name} {verb} {slow.times_slower:.1f}x slower than the others "
                f"({_of(slow.rate, slow.usual)}){as_fast}: "
                f"an asymmetric line, a limit on what it {verb}, or other traffic {way} it"
            )


def _slow_direction(network: Network, intervals: Intervals) -> Iterator[str]:
    """Between two hosts, nobody can tell whose port is slow."""
    up = [host.up_bytes_s for host in network.hosts]
    slow = min((0, 1), key=lambda number: up[number])
    name, other = network.name(slow), network.name(1 - slow)
    # On a fast link, noise alone may make one direction slower.
    _, slow_at_most = intervals.get(f"{name} up", (0.0, up[slow]))
    fast_at_least, _ = intervals.get(f"{other} up", (up[1 - slow], 0.0))
    if up[1 - slow] >= _SLOWER * up[slow] and fast_at_least > slow_at_most:
        yield (
            f"{name} sends to {other} {up[1 - slow] / up[slow]:.1f}x slower than it "
            f"receives from there ({_of(up[slow], up[1 - slow])}): an asymmetric line, "
            "or other traffic in that direction"
        )


def _slower_kind(rate_bytes_s: float) -> str:
    """The kind of switch port that has about this rate."""
    for name, usual_bytes_s in (("10 Mbit/s", 1.25e6), ("100 Mbit/s", 12.5e6), ("1 Gbit/s", 125e6)):
        if rate_bytes_s <= usual_bytes_s:
            return f"{name} switch port"
    return "slower switch port"


def _of(rate_bytes_s: float, usual_bytes_s: float) -> str:
    """`50 of 200 Mbit/s`."""
    value, usual = format_rounded_rate(rate_bytes_s), format_rounded_rate(usual_bytes_s)
    number, _, unit = value.partition(" ")
    return f"{number if usual.endswith(' ' + unit) else value} of {usual}"


def _shared_medium(network: Network) -> Iterator[str]:
    if network.has_medium:
        yield (
            f"all hosts share a medium of {format_rounded_rate(network.medium_bytes_s)}, as on a hub or in "
            "one Wi-Fi: what one sends takes that from all others; a switch and a cable for each would not"
        )


def _shared_links(found: Probe) -> Iterator[str]:
    network = found.network
    for number, rack in enumerate(network.racks):
        limits = {
            way: rate
            for way, rate in _limits(network, rack).items()
            if f"rack {number} {way}" not in found.at_least
            and not _is_wide(found.intervals.get(f"rack {number} {way}", (rate, rate)))
        }
        if len(rack.hosts) > 1 and limits:
            least = min(limits.values())
            names = _names(network, rack.hosts)
            rates = " and ".join(
                f"{format_rounded_rate(rate)} {direction}" for direction, rate in limits.items()
            )
            port = median([network.hosts[host].up_bytes_s for host in rack.hosts])
            yield (
                f"{names} share an uplink of {rates}: when all use it, each has "
                f"{_of(least / len(rack.hosts), port)}; let most traffic stay among them"
            )


def _names(network: Network, hosts: Sequence[int]) -> str:
    """`hosts 0, 2` for hosts without names of their own, else each one's name."""
    names = [network.name(host) for host in hosts]
    if all(name.startswith("host ") for name in names):
        return "hosts " + ", ".join(name.removeprefix("host ") for name in names)
    return ", ".join(names)


def _limits(network: Network, rack: Rack) -> dict[str, float]:
    """The rates of an uplink, in the directions in which it is slower than its hosts' ports."""
    up = sum(network.hosts[host].up_bytes_s for host in rack.hosts)
    down = sum(network.hosts[host].down_bytes_s for host in rack.hosts)
    limits = {"out": (rack.out_bytes_s, up), "in": (rack.in_bytes_s, down)}
    return {
        direction: rate for direction, (rate, ports) in limits.items() if rate < _SHARED * ports
    }


def _slow_connections(found: Probe) -> Iterator[str]:
    network = found.network
    unsure = {figure for figure, ends in found.intervals.items() if _is_wide(ends)}
    slow = [
        (rate, a, b)
        for a, row in enumerate(network.pair_bytes_s)
        for b, rate in enumerate(row)
        if a != b
        and rate < float("inf")
        and unsure.isdisjoint((f"{network.name(a)} up", f"{network.name(b)} down"))
    ]
    if not slow:
        return
    rate, a, b = min(slow)
    more = f", and so are {len(slow) - 1} more" if len(slow) > 1 else ""
    yield (
        f"a single connection from {network.name(a)} to {network.name(b)} carries "
        f"{format_rounded_rate(rate)} "
        f"only, less than their ports{more}: TCP buffers too small, packets lost, or a limit a flow"
    )


def _slow_cpus(network: Network) -> Iterator[str]:
    shared = {
        host for machine in network.machines if len(machine.hosts) > 1 for host in machine.hosts
    }
    speeds = {
        number: host.flops_s
        for number, host in enumerate(network.hosts)
        if number not in shared and host.flops_s
    }
    for number, speed in speeds.items():
        others = [other for at, other in speeds.items() if at != number]
        if others and (usual := median(others)) > _SLOWER * speed:
            yield (
                f"{network.name(number)} computes {usual / speed:.1f}x slower than the others: "
                "other work on it, a power-saving mode, or heat"
            )


def _soonest(observed: Observations) -> dict[int, float]:
    """For each host half its soonest round trips, the median over the others.

    Load makes most messages late, but seldom all; a long way makes all of them late. Hosts that share
    their machine are left out: they wait for its cores.
    """
    machines = Counter(observed.machine_of.values())
    of_host: dict[int, list[float]] = {}
    for pair, times_s in observed.echoes_s.items():
        for host in pair if times_s else ():
            of_host.setdefault(host, []).append(min(times_s) / 2)
    return {
        host: median(times_s)
        for host, times_s in of_host.items()
        if machines.get(observed.machine_of.get(host, ""), 1) == 1
    }


def _late_hosts(soonest_s: Mapping[int, float], names: Mapping[int, str]) -> Iterator[str]:
    if len(soonest_s) < 3:
        return
    for host, latency_s in soonest_s.items():
        others_s = median([it for other, it in soonest_s.items() if other != host])
        if latency_s > _LATER * others_s and latency_s > others_s + _LATER_S:
            yield (
                f"messages to {names[host]} take {format_duration(latency_s)} at best, and "
                f"{format_duration(others_s)} among the others: a longer way, or a power-saving mode"
            )


def _over_the_air(observed: Observations, names: Mapping[int, str]) -> Iterator[str]:
    for host in observed.wireless:
        yield (
            f"{names[host]} is reached over Wi-Fi ({observed.interface_of[host]}): all its stations "
            "share one channel, and rates change from one moment to the next; use a cable"
        )


def _unsure(intervals: Intervals) -> Iterator[str]:
    wide = [figure for figure, ends in intervals.items() if _is_wide(ends)]
    if wide:
        listed = ", ".join(wide[:4]) + (f" and {len(wide) - 4} more" if len(wide) > 4 else "")
        yield (
            f"measurements differ by over {_WIDE:.0%} for {listed}: "
            "other traffic or work is under way; repeat the probe without it"
        )


def _is_wide(ends: tuple[float, float]) -> bool:
    low, high = ends
    return high - low > _WIDE * (high + low)
