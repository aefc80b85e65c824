"""What is slower than its like in a network, and the network as it would be without that fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_high
from typing import Any, Literal

from firetree.network.network import Host, Network

RepairKind = Literal["slow_port", "slow_upload", "slow_download", "thin_uplink", "slow_link"]

_OUTLIER = 1.25
"""A probed port is apart from the others from here on: probes are sure of a few percent, and warn of it."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A fault of a network, of these hosts, and the network without it."""

    kind: RepairKind
    hosts: tuple[int, ...]
    rate_bytes_s: float
    usual_bytes_s: float
    network: Network


def repairs(network: Network) -> Iterator[Repair]:
    """Everything in a network that is slower than its like."""
    up = _slow([host.up_bytes_s for host in network.hosts])
    down = _slow([host.down_bytes_s for host in network.hosts])
    both = {host: up[host] for host in up if host in down}
    kinds: Sequence[tuple[RepairKind, Mapping[int, float], tuple[str, ...]]] = (
        ("slow_port", both, ("up_bytes_s", "down_bytes_s")),
        ("slow_upload", up, ("up_bytes_s",)),
        ("slow_download", down, ("down_bytes_s",)),
    )
    for kind, slow, names in kinds:
        if slow:
            worst = min(slow, key=lambda host: getattr(network.hosts[host], names[0]))
            rate_bytes_s = min(getattr(network.hosts[worst], name) for name in names)
            faster = _with_ports(network, slow, names)
            yield Repair(kind, tuple(slow), rate_bytes_s, slow[worst], faster)
    yield from _uplinks(network)
    yield from _pairs(network)


def _slow(rates: Sequence[float]) -> dict[int, float]:
    """The ports that are slower than the others, and what the others carry."""
    if len(rates) < 3:  # between two hosts, nobody can tell whose port is slow
        return {}
    usual = median_high(rates)
    return {k: usual for k, rate in enumerate(rates) if usual >= _OUTLIER * rate}


def _with_ports(network: Network, slow: Mapping[int, float], names: Sequence[str]) -> Network:
    def repaired(number: int, host: Host) -> Host:
        if number not in slow:
            return host
        changed: dict[str, Any] = dict.fromkeys(names, slow[number])
        return replace(host, **changed)

    def limit(a: int, b: int, rate: float) -> float:
        """A single connection over the port was limited by it, too."""
        into, out = "down_bytes_s" in names and b in slow, "up_bytes_s" in names and a in slow
        return float("inf") if into or out else rate

    hosts = tuple(repaired(number, host) for number, host in enumerate(network.hosts))
    pairs = tuple(
        tuple(limit(a, b, rate) for b, rate in enumerate(row))
        for a, row in enumerate(network.pair_bytes_s)
    )
    return replace(network, hosts=hosts, pair_bytes_s=pairs)


def _uplinks(network: Network) -> Iterator[Repair]:
    thin = []
    for rack in network.racks:
        up = sum(network.hosts[host].up_bytes_s for host in rack.hosts)
        down = sum(network.hosts[host].down_bytes_s for host in rack.hosts)
        share = min(rack.out_bytes_s / up, rack.in_bytes_s / down)
        if len(rack.hosts) > 1 and share * _OUTLIER <= 1:
            least = min(rack.out_bytes_s, rack.in_bytes_s)
            thin.append((least, len(rack.hosts), -rack.hosts[0], rack.hosts, least / share))
    if thin:
        rate_bytes_s, _, _, hosts, usual_bytes_s = min(thin)
        yield Repair("thin_uplink", hosts, rate_bytes_s, usual_bytes_s, replace(network, racks=()))


def _pairs(network: Network) -> Iterator[Repair]:
    slow = [
        (rate, a, b)
        for a, row in enumerate(network.pair_bytes_s)
        for b, rate in enumerate(row)
        if a != b and rate < float("inf")
    ]
    if slow:
        rate, a, b = min(slow)
        faster = replace(network, pair_bytes_s=())
        yield Repair("slow_link", (a, b), rate, faster.rate_alone(a, b), faster)
