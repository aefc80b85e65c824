"""Changes to a network's links, each with the network as it would be: repairs, wider uplinks, faster links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from firetree.network.network import Network, Rack
from firetree.network.units import format_rate
from firetree.planning.repairs import Repair, repairs
from firetree.planning.subsets import Subset, called

RATES_BYTES_S = tuple(gbits * 1e9 / 8 for gbits in (1, 2.5, 10))
"""Ethernet that can be bought."""

_FASTER = 1.5
"""Links are new from here on: a port of 1 Gbit/s is probed as a little less."""


class Upgrade(NamedTuple):
    """A change of links, and the network with it."""

    what: str
    network: Network


def mended(network: Network) -> Iterator[Upgrade]:
    """Each fault repaired; the two directions of a port only where they are not slow together."""
    told = set[Subset]()
    for repair in repairs(network):
        if repair.hosts not in told:
            told.add(repair.hosts)
            yield Upgrade(_repair(network, repair), repair.network)


def _repair(network: Network, repair: Repair) -> str:
    hosts = called(network, repair.hosts)
    what = {
        "slow_port": f"the link of {hosts}",
        "slow_upload": f"the upload of {hosts}",
        "slow_download": f"the download of {hosts}",
        "slow_link": f"the way between {hosts}",
        "thin_uplink": f"the uplink of {hosts}",
    }[repair.kind]
    usual, rate = format_rate(repair.usual_bytes_s), format_rate(repair.rate_bytes_s)
    return f"repair {what} ({usual} in place of {rate})"


def switched(network: Network) -> Iterator[Upgrade]:
    """Links of their own in place of a medium that all hosts share."""
    if network.has_medium:
        alone = replace(network, medium_bytes_s=float("inf"))
        yield Upgrade("a switch in place of the shared medium", alone)


def wider_uplinks(network: Network) -> Iterator[Upgrade]:
    """The racks' uplinks at standard rates above the thinnest, slowest first."""
    for rate_bytes_s in RATES_BYTES_S:
        thin = [it for it in network.racks if _FASTER * _thinnest(it) <= rate_bytes_s]
        if thin:
            whose = f"an uplink of {format_rate(rate_bytes_s)} for {called(network, thin[0].hosts)}"
            what = whose if len(thin) == 1 else f"uplinks of {format_rate(rate_bytes_s)}"
            yield Upgrade(what, _with_uplinks(network, rate_bytes_s))


def faster_links(network: Network) -> Iterator[Upgrade]:
    """All ports and uplinks at standard rates above that of most ports, slowest first."""
    usual = median(min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts)
    for rate_bytes_s in RATES_BYTES_S:
        if _FASTER * usual <= rate_bytes_s:
            hosts = tuple(
                replace(
                    host,
                    up_bytes_s=max(host.up_bytes_s, rate_bytes_s),
                    down_bytes_s=max(host.down_bytes_s, rate_bytes_s),
                )
                for host in network.hosts
            )
            faster = replace(network, hosts=hosts, pair_bytes_s=(), medium_bytes_s=float("inf"))
            yield Upgrade(
                f"links of {format_rate(rate_bytes_s)}", _with_uplinks(faster, rate_bytes_s)
            )


def _thinnest(rack: Rack) -> float:
    return min(rack.out_bytes_s, rack.in_bytes_s)


def _with_uplinks(network: Network, rate_bytes_s: float) -> Network:
    """No uplink below that rate."""
    racks = (
        replace(
            rack,
            out_bytes_s=max(rack.out_bytes_s, rate_bytes_s),
            in_bytes_s=max(rack.in_bytes_s, rate_bytes_s),
        )
        for rack in network.racks
    )
    return replace(network, racks=tuple(racks))
