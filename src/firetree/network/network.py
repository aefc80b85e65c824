"""The network as data: rates of ports and shared links, latencies, and the CPU's costs of messages.

Rates are bytes a second in one direction: the payload of a TCP connection alone on the link, without
headers. `notation` reads a network from one line of text, `document` from JSON; `planning` predicts
times on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firetree.documents import read_text
from firetree.errors import UserError
from firetree.network.units import format_duration, format_rate, format_share
from firetree.shown import Shown

MOST_HOSTS = 1024

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Host:
    """One host: the rates of its port, and the CPU's costs of messages and additions.

    `message_s` is CPU time for each message, at the sender and again at the receiver; `byte_s` is for
    each of its bytes; `add_s` for each byte of float32 added. `flops_s` is None if it was not measured.
    """

    up_bytes_s: float
    down_bytes_s: float
    name: str = ""
    message_s: float = 0.0
    byte_s: float = 0.0
    add_s: float = 0.0
    flops_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rack:
    """Hosts that share one uplink for all they send to and receive from other racks."""

    hosts: tuple[int, ...]
    out_bytes_s: float
    in_bytes_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Hosts emulated on one machine, as in the lab, which share its CPU cores.

    `message_s` is further CPU time for each message at either end. The message does not wait for it, but
    other work on these cores does.
    """

    hosts: tuple[int, ...]
    cores: float
    message_s: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Network(Shown):
    """Hosts on one switch, or in racks whose switches are joined by uplinks.

    With `racks`, each host is in exactly one. `latency_s[a][b]` is the latency from host a to host b; an
    empty table means none. `pair_bytes_s[a][b]` limits a single connection below the ports' rates; an
    empty table means no limit. `loss[a][b]` is the share of packets that get lost between them, and
    `jitter_s` the most by which one is late beyond the latency. The lab emulates both; nothing else
    knows of them yet. `medium_bytes_s` is the rate of a medium that all hosts share for all they send, as
    those on one hub or in one Wi-Fi do; it is infinite where there is none.

    Raises:
        UserError: no hosts or over 1,024, a rate not above 0, a negative duration, a loss of all packets,
            racks or machines that do not hold each host once, or a table that lacks a pair.
    """

    hosts: tuple[Host, ...]
    racks: tuple[Rack, ...] = ()
    machines: tuple[Machine, ...] = ()
    latency_s: Table = ()
    pair_bytes_s: Table = ()
    loss: Table = ()
    jitter_s: float = 0.0
    medium_bytes_s: float = float("inf")

    def __post_init__(self) -> None:
        _check_size(self.size)
        for number, host in enumerate(self.hosts):
            _check_host(number, host)
        for rack in self.racks:
            _check_rate(f"the uplink of rack {list(rack.hosts)}", rack.out_bytes_s, rack.in_bytes_s)
        if len(self.racks) == 1:
            raise UserError("one rack; expected two or more, or none")
        for kind, groups in (("racks", self.racks), ("machines", self.machines)):
            members = [host for group in groups for host in group.hosts]
            if groups and sorted(members) != list(range(self.size)):
                listed = [list(group.hosts) for group in groups]
                raise UserError(
                    f"{kind} {listed}; expected each host from 0 to {self.size - 1} once"
                )
            if not all(group.hosts for group in groups):
                raise UserError(f"one of the {kind} is empty; expected hosts in each")
        for number, machine in enumerate(self.machines):
            if not machine.cores > 0:
                raise UserError(f"machine {number}: {machine.cores:g} cores; expected more than 0")
            _check_figures(f"machine {number}", machine, ("message_s",))
        _check_table(
            "latency", self.latency_s, self.size, lambda it: 0 <= it < float("inf"), "0 or more"
        )
        _check_table("rate", self.pair_bytes_s, self.size, lambda it: it > 0, "more than 0")
        _check_table("loss", self.loss, self.size, lambda it: 0 <= it < 1, "0 to below 1")
        _check_figures("the network", self, ("jitter_s",))
        if not self.medium_bytes_s > 0:
            raise UserError(f"the medium: rate {self.medium_bytes_s:g}; expected more than 0")

    def __repr__(self) -> str:
        return f"Network({self.size} hosts of {self.rates})"

    @property
    def rates(self) -> str:
        """`100 Mbit/s to 1 Gbit/s, latency 89 µs`: from the slowest port to the fastest, and so on."""
        ports = [rate for host in self.hosts for rate in (host.up_bytes_s, host.down_bytes_s)]
        parts = [_extent(ports, format_rate)]
        if self.racks:
            uplinks = [rate for rack in self.racks for rate in (rack.out_bytes_s, rack.in_bytes_s)]
            parts.append(f"{len(self.racks)} racks behind {_extent(uplinks, format_rate)}")
        if self.has_medium:
            parts.append(f"sharing a medium of {format_rate(self.medium_bytes_s)}")
        if self.latency_s:
            parts.append(f"latency {_extent(_of_pairs(self.latency_s), format_duration)}")
        if self.jitter_s:
            parts.append(f"jitter {format_duration(self.jitter_s)}")
        if self.loss:
            parts.append(f"loss {_extent(_of_pairs(self.loss), format_share)}")
        return ", ".join(parts)

    @staticmethod
    def load(text_or_path: str | Path) -> Network:
        """A network from one line of text or from a JSON file.

        Raises:
            UserError: no such file, or the text is not a network.

        Example:
            >>> firetree.Network.load("7 x 1gbit + 1 x 100mbit")
            Network(8 hosts of 100 Mbit/s to 1 Gbit/s)
        """
        from firetree.network.document import from_json
        from firetree.network.notation import parse_network

        path = Path(text_or_path)
        if path.suffix != ".json" and not os.path.exists(text_or_path):
            return parse_network(str(text_or_path))
        text = read_text(path, "network")
        try:
            return from_json(text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The network as JSON, which `load` and `firetree plan` read."""
        from firetree.network.document import to_json

        return to_json(self)

    @staticmethod
    def of_ports(
        port_bytes_s: Sequence[float],
        racks: Sequence[Sequence[int]] = (),
        uplink_bytes_s: float | None = None,
    ) -> Network:
        """Hosts whose ports have one rate for both directions, optionally in racks with equal uplinks."""
        if (uplink_bytes_s is None) != (not racks):
            raise UserError("racks without an uplink, or an uplink without racks; give both")
        hosts = tuple(Host(rate, rate) for rate in port_bytes_s)
        uplink = uplink_bytes_s or 0.0
        return Network(hosts, tuple(Rack(tuple(rack), uplink, uplink) for rack in racks))

    @property
    def size(self) -> int:
        """How many hosts there are."""
        return len(self.hosts)

    @property
    def has_medium(self) -> bool:
        """Whether all hosts share one medium."""
        return self.medium_bytes_s < float("inf")

    def latency(self, sender: int, receiver: int) -> float:
        """Seconds of latency from one host to another."""
        return self.latency_s[sender][receiver] if self.latency_s else 0.0

    def pair_rate(self, sender: int, receiver: int) -> float:
        """The limit of one connection in bytes a second; infinite if only the ports limit it."""
        return self.pair_bytes_s[sender][receiver] if self.pair_bytes_s else float("inf")

    def rate_alone(self, sender: int, receiver: int) -> float:
        """Bytes a second from one host to another while nothing else is sent."""
        racks = rack_of(self)
        limits = [self.hosts[sender].up_bytes_s, self.hosts[receiver].down_bytes_s]
        if racks[sender] != racks[receiver]:
            limits.append(self.racks[racks[sender]].out_bytes_s)
            limits.append(self.racks[racks[receiver]].in_bytes_s)
        return min(*limits, self.pair_rate(sender, receiver), self.medium_bytes_s)

    def name(self, host: int) -> str:
        """A host's name; `host 3` if it has none."""
        return self.hosts[host].name or f"host {host}"

    def first(self, count: int) -> Network:
        """The network of hosts 0 to `count` − 1 only."""
        return self.of(range(count))

    def of(self, chosen: Sequence[int]) -> Network:
        """The network of these hosts only, in this order; a single remaining rack loses its uplink."""
        index_of = {host: index for index, host in enumerate(chosen)}

        def within(hosts: Sequence[int]) -> tuple[int, ...]:
            return tuple(sorted(index_of[host] for host in hosts if host in index_of))

        racks = [replace(rack, hosts=within(rack.hosts)) for rack in self.racks]
        racks = [rack for rack in racks if rack.hosts]
        machines = [replace(machine, hosts=within(machine.hosts)) for machine in self.machines]
        return Network(
            tuple(self.hosts[host] for host in chosen),
            tuple(racks) if len(racks) > 1 else (),
            tuple(machine for machine in machines if machine.hosts),
            _part(self.latency_s, chosen),
            _part(self.pair_bytes_s, chosen),
            _part(self.loss, chosen),
            self.jitter_s,
            self.medium_bytes_s,
        )


def rack_of(network: Network) -> list[int]:
    """The rack number of each host; 0 for all if there are no racks."""
    found = [0] * network.size
    for number, rack in enumerate(network.racks):
        for host in rack.hosts:
            found[host] = number
    return found


def uniform(value: float, size: int) -> Table:
    """A table with the same value for all pairs of different hosts."""
    _check_size(size)  # before the table takes memory for far too many
    return tuple(tuple(0.0 if a == b else value for b in range(size)) for a in range(size))


def _of_pairs(table: Table) -> list[float]:
    """What a table says of pairs of different hosts; 0 where there are none."""
    return [it for a, row in enumerate(table) for b, it in enumerate(row) if a != b] or [0.0]


def _extent(values: Sequence[float], form: Callable[[float], str]) -> str:
    """`1 Gbit/s`, or `100 Mbit/s to 1 Gbit/s` if they differ."""
    return " to ".join(dict.fromkeys((form(min(values)), form(max(values)))))


def _part(table: Table, chosen: Sequence[int]) -> Table:
    return tuple(tuple(table[a][b] for b in chosen) for a in chosen) if table else ()


def _check_size(size: int) -> None:
    if not 1 <= size <= MOST_HOSTS:
        raise UserError(f"a network of {size} hosts; expected 1 to {MOST_HOSTS}")


def _check_host(number: int, host: Host) -> None:
    _check_rate(f"host {number}", host.up_bytes_s, host.down_bytes_s)
    _check_figures(f"host {number}", host, ("message_s", "byte_s", "add_s"))
    if host.flops_s is not None:
        _check_rate(f"host {number}'s computation", host.flops_s)


def _check_figures(of: str, figures: Host | Machine | Network, names: Sequence[str]) -> None:
    for name in names:
        if not 0 <= getattr(figures, name) < float("inf"):
            raise UserError(f"{of}: {name} {getattr(figures, name):g}; expected 0 or more")


def _check_rate(of: str, *rates: float) -> None:
    for rate in rates:
        if not 0 < rate < float("inf"):
            raise UserError(f"{of}: rate {rate:g}; expected more than 0")


def _check_table(
    what: str, table: Table, size: int, allowed: Callable[[float], bool], expected: str
) -> None:
    if not table:
        return
    for a in range(size):
        for b in range(size):
            if len(table) <= a or len(table[a]) <= b:
                raise UserError(f"no {what} from host {a} to host {b}; expected one for every pair")
            if a != b and not allowed(table[a][b]):
                raise UserError(
                    f"{what} from host {a} to host {b}: {table[a][b]:g}; expected {expected}"
                )
    if len(table) > size or any(len(row) > size for row in table):
        raise UserError(
            f"the {what} table has more than {size} rows or columns; expected one a host"
        )
