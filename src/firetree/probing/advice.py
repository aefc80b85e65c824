"""Warnings about a measured network, a line each; a clean network has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median, median_high

from firetree.network import Network, Rack, format_duration, format_rate

_SLOWER = 1.25
"""A port or CPU gets a warning where it is this many times slower than the others'."""
_LATER, _LATER_S = 3.0, 300e-6
"""A host's latency gets a warning at this many times the others', and this many seconds above it."""
_WIDE = 0.15
_SHARED = 0.95

Intervals = Mapping[str, tuple[float, float]]


def warnings(
    network: Network,
    intervals: Intervals,
    unmeasured: Sequence[int],
    unreachable: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """The warnings, missing hosts first; `unmeasured` and `unreachable` hold ranks."""
    return [
        *_missing(unmeasured),
        *_cut_off(unreachable),
        *_slow_ports(network, intervals),
        *_shared_links(network),
        *_slow_connections(network),
        *_slow_cpus(network),
        *_late_hosts(network),
        *_unsure(intervals),
    ]


def _missing(unmeasured: Sequence[int]) -> Iterator[str]:
    for rank in unmeasured:
        yield f"host {rank} did not answer and was not measured: is it up, and reachable from host 0?"


def _cut_off(unreachable: Sequence[tuple[int, int]]) -> Iterator[str]:
    if unreachable:
        (a, b), *rest = sorted(unreachable)
        more = f", nor can {len(rest)} more pairs" if rest else ""
        yield f"host {a} cannot connect to host {b}{more}: a firewall between them, or no route"


def _slow_ports(network: Network, intervals: Intervals) -> Iterator[str]:
    up = [host.up_bytes_s for host in network.hosts]
    down = [host.down_bytes_s for host in network.hosts]
    if network.size == 2:
        yield from _slow_direction(up, intervals)
        return
    for number in range(network.size):
        sends, receives = _times_slower(up, number), _times_slower(down, number)
        name = network.name(number)
        if min(sends, receives) >= _SLOWER:
            yield (
                f"{name}'s port is {max(sends, receives):.1f}x slower than the others "
                f"({_of(min(up[number], down[number]), _others(up, number))}): a bad cable, "
                f"or a {_slower_kind(max(up[number], down[number]))}"
            )
            continue
        for verb, other, slower, rates, way in (
            ("sends", "receives", sends, up, "from"),
            ("receives", "sends", receives, down, "to"),
        ):
            if slower >= _SLOWER:
                yield (
                    f"{name} {verb} {slower:.1f}x slower than the others "
                    f"({_of(rates[number], _others(rates, number))}) and {other} as fast as they do: "
                    f"an asymmetric line, a limit on what it {verb}, or other traffic {way} it"
                )


def _slow_direction(up: Sequence[float], intervals: Intervals) -> Iterator[str]:
    """Between two hosts, nobody can tell whose port is slow."""
    slow = min((0, 1), key=lambda number: up[number])
    # On a fast link, noise alone may make one direction slower.
    _, slow_at_most = intervals.get(f"host {slow} up", (0.0, up[slow]))
    fast_at_least, _ = intervals.get(f"host {1 - slow} up", (up[1 - slow], 0.0))
    if up[1 - slow] >= _SLOWER * up[slow] and fast_at_least > slow_at_most:
        yield (
            f"host {slow} sends to host {1 - slow} {up[1 - slow] / up[slow]:.1f}x slower than it "
            f"receives from there ({_of(up[slow], up[1 - slow])}): an asymmetric line, "
            "or other traffic in that direction"
        )


def _others(rates: Sequence[float], number: int) -> float:
    """The others' median rate; of two others, the faster one's."""
    return median_high([rate for other, rate in enumerate(rates) if other != number])


def _times_slower(rates: Sequence[float], number: int) -> float:
    return _others(rates, number) / rates[number]


def _slower_kind(rate_bytes_s: float) -> str:
    """The kind of switch port that has about this rate."""
    for name, usual_bytes_s in (("10 Mbit/s", 1.25e6), ("100 Mbit/s", 12.5e6), ("1 Gbit/s", 125e6)):
        if rate_bytes_s <= usual_bytes_s:
            return f"{name} switch port"
    return "slower switch port"


def _of(rate_bytes_s: float, usual_bytes_s: float) -> str:
    """`50 of 200 Mbit/s`."""
    value, usual = _rounded(rate_bytes_s), _rounded(usual_bytes_s)
    number, _, unit = value.partition(" ")
    return f"{number if usual.endswith(' ' + unit) else value} of {usual}"


def _rounded(rate_bytes_s: float) -> str:
    return format_rate(float(f"{rate_bytes_s * 8:.3g}") / 8)


def _shared_links(network: Network) -> Iterator[str]:
    for rack in network.racks:
        if len(rack.hosts) > 1 and (limits := _limits(network, rack)):
            least = min(limits.values())
            names = _names(network, rack.hosts)
            rates = " and ".join(
                f"{_rounded(rate)} {direction}" for direction, rate in limits.items()
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


def _slow_connections(network: Network) -> Iterator[str]:
    if not network.pair_bytes_s:
        return
    slow = [
        (rate, a, b)
        for a, row in enumerate(network.pair_bytes_s)
        for b, rate in enumerate(row)
        if a != b and rate < float("inf")
    ]
    rate, a, b = min(slow)
    more = f", and so are {len(slow) - 1} more" if len(slow) > 1 else ""
    yield (
        f"a single connection from {network.name(a)} to {network.name(b)} carries {_rounded(rate)} "
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


def _late_hosts(network: Network) -> Iterator[str]:
    if network.size < 3 or not network.latency_s:
        return
    usual = [
        median([network.latency(number, other) for other in range(network.size) if other != number])
        for number in range(network.size)
    ]
    for number, latency_s in enumerate(usual):
        others_s = median([it for at, it in enumerate(usual) if at != number])
        if latency_s > _LATER * others_s and latency_s > others_s + _LATER_S:
            yield (
                f"messages to {network.name(number)} take {format_duration(latency_s)}, and "
                f"{format_duration(others_s)} among the others: a longer way, or a busy host"
            )


def _unsure(intervals: Intervals) -> Iterator[str]:
    wide = [
        name for name, (low, high) in intervals.items() if high - low > 2 * _WIDE * (high + low) / 2
    ]
    if wide:
        listed = ", ".join(wide[:4]) + (f" and {len(wide) - 4} more" if len(wide) > 4 else "")
        yield (
            f"measurements differ by over {_WIDE:.0%} for {listed}: "
            "other traffic or work is under way; repeat the probe without it"
        )
