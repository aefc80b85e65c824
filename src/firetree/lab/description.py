"""From what a user writes about a cluster to the Network that it means.

`3=50mbit` is a host with a rate of its own; `0-3`, `0,2,4,6` and `0-1,6` are racks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from firetree.errors import UserError
from firetree.network import Network, parse_rate


def describe(
    hosts: int,
    rate: str,
    slow: Sequence[str] = (),
    racks: Sequence[str] = (),
    uplink: str | None = None,
) -> Network:
    """The network of `hosts` hosts at `rate`, but for the `slow` ones, perhaps in racks.

    Raises:
        UserError: a text that cannot be read, a host that is not there or named twice, a host in no
            rack, one rack alone, racks without an uplink or an uplink without racks.
    """
    if hosts < 1:
        raise UserError(f"{hosts} hosts; expected 1 or more")
    ports = [parse_rate(rate)] * hosts
    own_rates = [_own_rate(text, hosts) for text in slow]
    _refuse_repeated("--slow", [host for host, _ in own_rates])
    for host, rate_bytes_s in own_rates:
        ports[host] = rate_bytes_s
    members = tuple(_rack(text, hosts) for text in racks)
    _check_racks(members, hosts, uplink)
    return Network(tuple(ports), members, None if uplink is None else parse_rate(uplink))


def _own_rate(text: str, hosts: int) -> tuple[int, float]:
    host, equals, rate = text.partition("=")
    if not equals:
        raise UserError(f"slow host '{text}'; expected a host and its rate, as in 3=50mbit")
    return _host(host, hosts, text), parse_rate(rate)


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
        raise UserError(f"--uplink {uplink} without racks; add --rack for each, as in --rack 0-3")
    if uplink is None:
        raise UserError("racks without the rate of their uplinks; add it, as in --uplink 100mbit")
    if len(racks) == 1:
        raise UserError("one rack alone; expected two or more, or none")
    racked = [host for rack in racks for host in rack]
    _refuse_repeated("--rack", racked)
    if missing := sorted(set(range(hosts)) - set(racked)):
        raise UserError(f"host {missing[0]} is in no rack; expected each host in one --rack")


def _refuse_repeated(option: str, hosts: Sequence[int]) -> None:
    repeated = [host for host, times in Counter(hosts).items() if times > 1]
    if repeated:
        raise UserError(f"host {repeated[0]} is named twice in {option}; expected once")
