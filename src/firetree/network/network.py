"""The network as data: what each host's port carries, and which hosts share an uplink.

Rates are of payload, in bytes a second and direction: what a TCP connection that is alone on the
link moves, headers not counted. `bound` says what no all-reduce can beat on it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from firetree.errors import UserError

NETWORK_VERSION = 1

_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


@dataclass(frozen=True, slots=True)
class Network:
    """Hosts on one switch, or in racks with a switch each whose uplinks meet.

    `port_bytes_s[h]` is the rate of host h's port in either direction. With `racks`, each host is
    in exactly one, and `uplink_bytes_s` is the rate of each rack's uplink in either direction.

    Raises:
        UserError: a rate is not above zero, or the racks do not hold every host once.
    """

    port_bytes_s: tuple[float, ...]
    racks: tuple[tuple[int, ...], ...] = ()
    uplink_bytes_s: float | None = None

    def __post_init__(self) -> None:
        uplink = [] if self.uplink_bytes_s is None else [self.uplink_bytes_s]
        rates = (*self.port_bytes_s, *uplink)
        if not self.port_bytes_s or not all(0 < rate < float("inf") for rate in rates):
            raise UserError(f"a network with rates {rates}; expected each above 0")
        if (self.uplink_bytes_s is None) != (not self.racks):
            raise UserError("racks without an uplink, or an uplink without racks; give both")
        if self.racks and (len(self.racks) < 2 or not all(self.racks)):
            raise UserError(f"racks {self.racks}; expected two or more, none of them empty")
        if self.racks and sorted(h for rack in self.racks for h in rack) != list(range(self.hosts)):
            raise UserError(
                f"racks {self.racks}; expected each host from 0 to {self.hosts - 1} once"
            )

    @property
    def hosts(self) -> int:
        """How many hosts there are."""
        return len(self.port_bytes_s)

    def first(self, hosts: int) -> Network:
        """The network of hosts 0 to `hosts` − 1 alone; a rack that is left alone needs no uplink."""
        racks = tuple(
            rack for rack in (tuple(h for h in r if h < hosts) for r in self.racks) if rack
        )
        split = len(racks) > 1
        ports = self.port_bytes_s[:hosts]
        return Network(ports, racks if split else (), self.uplink_bytes_s if split else None)

    def to_json(self) -> str:
        """Write as `{"version", "port_bytes_s": […], "racks": [[…], …], "uplink_bytes_s"}`."""
        return json.dumps(
            {
                "version": NETWORK_VERSION,
                "port_bytes_s": self.port_bytes_s,
                "racks": self.racks,
                "uplink_bytes_s": self.uplink_bytes_s,
            }
        )

    @staticmethod
    def from_json(text: str) -> Network:
        """Read what `to_json` wrote.

        Raises:
            UserError: the text is not a network of this version; the first fault is named.
        """
        try:
            document = json.loads(text)
            version = document["version"]
            if version != NETWORK_VERSION:
                raise UserError(f"a network of version {version}; expected {NETWORK_VERSION}")
            uplink, ports, racks = (
                document[name] for name in ("uplink_bytes_s", "port_bytes_s", "racks")
            )
            return Network(
                tuple(float(_number(rate, float)) for rate in ports),
                tuple(tuple(int(_number(host, int)) for host in rack) for rack in racks),
                None if uplink is None else float(_number(uplink, float)),
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(
                f"not a network: {error!r}; expected the JSON that Network.to_json writes"
            ) from error


def _number(value: object, kind: type[int] | type[float]) -> float:
    if type(value) is not int and type(value) is not kind:
        raise TypeError(f"{value!r}, expected a number")
    return value


def parse_rate(text: str) -> float:
    """Bytes a second of a rate in bits: `200mbit`, `1gbit`, `2.5gbit`.

    Raises:
        UserError: the text is no such rate, or not above zero.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)([kmg]?bit)", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UserError(f"rate '{text}'; expected a number and kbit, mbit or gbit, as in 200mbit")
    return float(found[1]) * _BITS[found[2]] / 8


def format_rate(rate_bytes_s: float) -> str:
    """The rate in bits a second as people say it: `200 Mbit/s`."""
    bits = rate_bytes_s * 8
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= factor:
            return f"{bits / factor:.4g} {unit}"
    return f"{bits:.4g} bit/s"
