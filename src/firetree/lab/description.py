"""Parse a user's description of a cluster into a Network.

`3=50mbit` gives host 3 its own rate, `3=50mbit:200mbit` one for up and one for down. `0-3`, `0,2,4,6`
and `0-1,6` are racks. `3=50%` is what host 3 has of a CPU core. A whole network comes from a file, or in `network.notation`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from firetree.errors import ArgumentError, UserError
from firetree.lab.topology import MOST_HOSTS
from firetree.network import (
    Host,
    Network,
    Rack,
    format_duration,
    format_rate,
    parse_rate,
)
from firetree.network.units import parse_rates

LEAST_LATENCY_S, MOST_DELAY_S = 0.0005, 2.0
MOST_RELAYED_BYTES_S = 25e6


def describe(
    hosts: int,
    rate: str,
    slow: Sequence[str] = (),
    racks: Sequence[str] = (),
    uplink: str | None = None,
) -> Network:
    """The network of `hosts` hosts at `rate`, except the `slow` ones, optionally in racks.

    Raises:
        UserError: a text that cannot be read, an unknown host or one named twice, a host in no
            rack, a single rack, racks without an uplink or an uplink without racks.
    """
    if not 1 <= hosts <= MOST_HOSTS:
        raise UserError(f"{hosts} hosts; expected 1 to {MOST_HOSTS}")
    port_bytes_s = parse_rate(rate)
    described = [Host(port_bytes_s, port_bytes_s)] * hosts
    slow_hosts = [_slow_host(text, hosts) for text in slow]
    if repeated := _repeated([number for number, _ in slow_hosts]):
        raise ArgumentError("slow", f"names host {repeated[0]} twice; expected once")
    for number, host in slow_hosts:
        described[number] = host
    members = tuple(_rack(text, hosts) for text in racks)
    _check_racks(members, hosts, uplink)
    uplink_bytes_s = parse_rate(uplink) if uplink is not None else 0.0
    return Network(
        tuple(described), tuple(Rack(rack, uplink_bytes_s, uplink_bytes_s) for rack in members)
    )


def load_description(text_or_path: str) -> Network:
    """A network from one line of text or from a JSON file, of which a lab emulates everything.

    A probe's CPU costs, computing speeds and shared machines are left out, as all hosts share this
    machine; so are latencies of hosts that shared one.

    Raises:
        UserError: not a network, or a limit on a connection below its ports' rates.
    """
    network = Network.load(text_or_path)
    hosts = tuple(Host(host.up_bytes_s, host.down_bytes_s, host.name) for host in network.hosts)
    _refuse_slow_pairs(network)
    latency_s = () if network.machines else network.latency_s
    return replace(network, hosts=hosts, machines=(), latency_s=latency_s, pair_bytes_s=())


def emulated(network: Network) -> Network:
    """What of a network a lab emulates, but for latencies that packets have here anyway.

    Those are latencies below LEAST_LATENCY_S, and of hosts that shared a machine when they were probed.

    Raises:
        UserError: too many hosts, or more than `relay` can carry.
    """
    if network.size > MOST_HOSTS:
        raise UserError(f"{network.size} hosts; a lab has {MOST_HOSTS} at most")
    latency_s = max(map(max, network.latency_s), default=0.0)
    if network.machines or latency_s < LEAST_LATENCY_S:
        network = replace(network, latency_s=())
    if not needs_relay(network):
        return network
    if latency_s + network.jitter_s > MOST_DELAY_S:
        raise UserError(
            f"a latency of {format_duration(latency_s + network.jitter_s)}; a lab delays packets by "
            f"{format_duration(MOST_DELAY_S)} at most"
        )
    fastest = max(rate for host in network.hosts for rate in (host.up_bytes_s, host.down_bytes_s))
    if fastest > MOST_RELAYED_BYTES_S:
        raise UserError(
            f"latency, jitter, loss or a medium at {format_rate(fastest)}; a lab has them with hosts of "
            f"{format_rate(MOST_RELAYED_BYTES_S)} at most"
        )
    return network


def needs_relay(network: Network) -> bool:
    """Whether a lab of this network needs `relay`."""
    return bool(network.latency_s or network.jitter_s or network.loss or network.has_medium)


def parse_cpu_limits(texts: Sequence[str], hosts: int) -> dict[int, float]:
    """For some hosts the cores that their processes may use, each from a text as `3=50%`.

    Raises:
        UserError: a text that cannot be read, an unknown host, or one that is named twice.
    """
    cores: dict[int, float] = {}
    for text in texts:
        number, equals, share = text.partition("=")
        if not equals:
            raise UserError(f"CPU limit '{text}'; expected a host and its share, as in 3=50%")
        host = _host(number, hosts, text)
        if host in cores:
            raise ArgumentError("cpu", f"names host {host} twice; expected once")
        cores[host] = parse_cores(share)
    return cores


def parse_cores(text: str) -> float:
    """How many cores a percentage of one is: 0.5 for `50%`, 2 for `200%`.

    Raises:
        UserError: the text is no percentage, or below 1%.
    """
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s?%\s*", text)
    if not found or float(found[1]) < 1:
        raise UserError(f"CPU limit '{text}'; expected 1% of a core or more, as in 50%")
    return float(found[1]) / 100


def _refuse_slow_pairs(network: Network) -> None:
    for sender, receiver in itertools.permutations(range(network.size), 2):
        rate_bytes_s = network.pair_rate(sender, receiver)
        ports = network.hosts[sender].up_bytes_s, network.hosts[receiver].down_bytes_s
        if rate_bytes_s < min(ports) * (1 - 1e-9):
            raise UserError(
                f"a connection from host {sender} to host {receiver} with {format_rate(rate_bytes_s)}; "
                'a lab limits ports and uplinks only, so leave out "rate"'
            )


def _slow_host(text: str, hosts: int) -> tuple[int, Host]:
    host, equals, rates = text.partition("=")
    if not equals:
        raise UserError(
            f"slow host '{text}'; expected a host and its rate, as in 3=50mbit or 3=50mbit:200mbit"
        )
    return _host(host, hosts, text), Host(*parse_rates(rates))


def _rack(text: str, hosts: int) -> tuple[int, ...]:
    members: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = _host(first, hosts, text)
        high = _host(last, hosts, text) if dash else low
        if high < low:
            raise UserError(f"rack '{text}'; expected the lower host of '{part}' first")
        members += range(low, high + 1)
    return tuple(members)


def _host(text: str, hosts: int, whole: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        raise UserError(f"host '{text}' in '{whole}'; expected a number from 0 to {hosts - 1}")
    if int(text) >= hosts:
        raise UserError(f"host {int(text)} in '{whole}'; the hosts are 0 to {hosts - 1}")
    return int(text)


def _check_racks(racks: tuple[tuple[int, ...], ...], hosts: int, uplink: str | None) -> None:
    if not racks and uplink is None:
        return
    if not racks:
        raise ArgumentError(
            "uplink", f"is {uplink} without racks; name each one's hosts, as in 0-3"
        )
    if uplink is None:
        raise ArgumentError(
            "uplink", "is missing; expected the rate of racks' uplinks, as in 100mbit"
        )
    if len(racks) == 1:
        raise UserError("one rack; expected two or more, or none")
    racked = [host for rack in racks for host in rack]
    if repeated := _repeated(racked):
        raise UserError(f"host {repeated[0]} is named twice in racks; expected once")
    if missing := sorted(set(range(hosts)) - set(racked)):
        raise UserError(f"host {missing[0]} is in no rack; expected each host in one rack")


def _repeated(hosts: Sequence[int]) -> list[int]:
    return [host for host, times in Counter(hosts).items() if times > 1]
