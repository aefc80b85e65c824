"""A network in one line of text: `8 x 1gbit`, or `4 x 10gbit | 4 x 10gbit / 1gbit` for two racks.

`+` joins hosts of different rates, as in `7 x 1gbit + 1 x 100mbit`; `50mbit:200mbit` is up and down.
`|` separates racks. The rate of their uplinks follows `/`: once, at the end, if all are equal, else
after each, as in `4 x 1gbit / 1gbit | 4 x 1gbit / 2gbit:500mbit`, where `:` is out and in. What all
pairs have follows commas, in any order: a latency, a jitter, a loss of packets, the rate of a medium
that all share, as in `8 x 100mbit, 10ms, jitter 2ms, loss 0.1%` or `4 x 50mbit, medium 50mbit, 2ms`.
"""

from __future__ import annotations

import re

from firetree.errors import UserError
from firetree.network.network import MOST_HOSTS, Host, Network, Rack, uniform
from firetree.network.units import parse_duration, parse_rate, parse_rates, parse_share


def parse_network(text: str) -> Network:
    """Read a network from a line of this module's notation.

    Raises:
        UserError: the text cannot be read; names the wrong part.
    """
    links, *parts = text.split(",")
    cut = [part.partition("/") for part in links.split("|")]
    racks = [_hosts(ports, text) for ports, _, _ in cut]
    hosts = tuple(host for rack in racks for host in rack)
    uplinks = _uplinks([uplink if slash else None for _, slash, uplink in cut], text)
    between = _between(parts, text)
    latency_s = parse_duration(between.get("latency", "0s"))
    loss = parse_share(between.get("loss", "0%"))
    starts = [sum(map(len, racks[:number])) for number in range(len(racks))]
    return Network(
        hosts,
        tuple(
            Rack(tuple(range(start, start + len(rack))), *parse_rates(uplink))
            for start, rack, uplink in zip(starts, racks, uplinks, strict=len(racks) > 1)
        ),
        latency_s=uniform(latency_s, len(hosts)) if latency_s else (),
        loss=uniform(loss, len(hosts)) if loss else (),
        jitter_s=parse_duration(between.get("jitter", "0s")),
        medium_bytes_s=parse_rate(between["medium"]) if "medium" in between else float("inf"),
    )


def _uplinks(said: list[str | None], whole: str) -> list[str]:
    """The uplink of each rack, where it is said of each, or of the last one for all; none of one rack."""
    found = [uplink for uplink in said if uplink is not None]
    if said[-1] is not None and len(found) == 1:
        found *= len(said)
    if len(found) != len(said) * (len(said) > 1):
        raise UserError(
            f"network '{whole}'; expected racks with | between them and the rate of their uplinks "
            "after /, at the end or after each, as in '4 x 10gbit | 4 x 10gbit / 1gbit'"
        )
    return found


def _between(parts: list[str], whole: str) -> dict[str, str]:
    """What follows the commas, by its name; a figure without one is the latency."""
    found: dict[str, str] = {}
    for part in parts:
        named = re.fullmatch(r"\s*(latency|jitter|loss|medium)\s+(.*)", part)
        name, figure = (named[1], named[2]) if named else ("latency", part)
        if name in found:
            raise UserError(f"network '{whole}' has two figures of {name}; expected one")
        found[name] = figure
    return found


def _hosts(text: str, whole: str) -> list[Host]:
    hosts: list[Host] = []
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(\d{1,9})\s*x\s*(.+?)\s*", part)
        if not found:
            raise UserError(
                f"'{part.strip()}' in network '{whole}'; expected a number of hosts and their rate, "
                "as in '8 x 1gbit', or the name of a JSON file"
            )
        up, down = parse_rates(found[2])
        if not 1 <= int(found[1]) <= MOST_HOSTS:
            raise UserError(f"{found[1]} hosts in network '{whole}'; expected 1 to {MOST_HOSTS}")
        hosts += [Host(up, down)] * int(found[1])
    return hosts
