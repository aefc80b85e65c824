"""A network's JSON. Every figure has its unit, so that a person can read and edit it.

    {"version": 2,
     "hosts": [{"up": "200mbit", "down": "200mbit"}, …],
     "racks": [{"hosts": [0, 1], "out": "100mbit", "in": "100mbit"}, …],
     "latency": "80us", or a table [[null, "80us"], ["80us", null]]}

A host needs only `up` and `down`. Optional are `name`, the durations `message`, `byte` and `add`, and
`flops_s`. `machines` are `{"hosts": […], "cores": 2}`, with an optional `message`. `rate` and `loss`
(`"0.1%"`) are tables like `latency`; `jitter` is one duration, and `medium` the rate of a medium that all hosts share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from firetree.documents import parse_json, shown
from firetree.errors import UserError, nearest
from firetree.network.network import Host, Machine, Network, Rack, Table, uniform
from firetree.network.units import parse_duration, parse_rate, parse_share

NETWORK_VERSION = 2

_FIELDS = ("version", "hosts", "racks", "machines", "latency", "rate", "loss", "jitter", "medium")
_HOST_FIELDS = ("name", "up", "down", "message", "byte", "add", "flops_s")


def to_json(network: Network) -> str:
    """The network as this module's JSON, with every figure at full precision."""
    document: dict[str, Any] = {
        "version": NETWORK_VERSION,
        "hosts": [_host_document(host) for host in network.hosts],
    }
    if network.racks:
        document["racks"] = [
            {"hosts": rack.hosts, "out": _rate(rack.out_bytes_s), "in": _rate(rack.in_bytes_s)}
            for rack in network.racks
        ]
    if network.machines:
        document["machines"] = [
            {"hosts": machine.hosts, "cores": machine.cores} | _costs_document(machine, "message")
            for machine in network.machines
        ]
    if network.latency_s:
        document["latency"] = _table_document(network.latency_s, _duration)
    if network.pair_bytes_s:
        document["rate"] = _table_document(network.pair_bytes_s, _rate)
    if network.loss:
        document["loss"] = _table_document(network.loss, _share)
    if network.jitter_s:
        document["jitter"] = _duration(network.jitter_s)
    if network.has_medium:
        document["medium"] = _rate(network.medium_bytes_s)
    rows = ",\n".join(f'"{name}": {_spread(value)}' for name, value in document.items())
    return f"{{{rows}}}\n"


def from_json(text: str) -> Network:
    """Read a network's JSON, written by `to_json` or by hand.

    Raises:
        UserError: the text is not a network of this version; names the first fault.
    """
    document = parse_json(dict[str, Any], text, "a network")
    version = _field(document, "version", "a network")
    if version != NETWORK_VERSION:
        raise UserError(f"a network of version {shown(version)}; expected {NETWORK_VERSION}")
    _check_fields(document, _FIELDS, "a network")
    hosts = [
        _host(entry, f"host {number}")
        for number, entry in enumerate(_list(_field(document, "hosts", "a network"), "hosts"))
    ]
    racks, machines = (_list(document.get(name, []), name) for name in ("racks", "machines"))
    return Network(
        tuple(hosts),
        tuple(_rack(entry, f"rack {number}") for number, entry in enumerate(racks)),
        tuple(_machine(entry, f"machine {number}") for number, entry in enumerate(machines)),
        _table(document.get("latency"), parse_duration, len(hosts), "latency"),
        _table(document.get("rate"), _pair_rate, len(hosts), "rate"),
        _table(document.get("loss"), parse_share, len(hosts), "loss"),
        _parsed(document.get("jitter", "0s"), parse_duration, "jitter"),
        _parsed(document.get("medium", "port"), _pair_rate, "medium"),
    )


def _host_document(host: Host) -> dict[str, Any]:
    document: dict[str, Any] = {"name": host.name} if host.name else {}
    document |= {"up": _rate(host.up_bytes_s), "down": _rate(host.down_bytes_s)}
    document |= _costs_document(host, "message", "byte", "add")
    if host.flops_s is not None:
        document["flops_s"] = host.flops_s
    return document


def _costs_document(figures: Host | Machine, *names: str) -> dict[str, str]:
    durations_s = {name: getattr(figures, f"{name}_s") for name in names}
    return {name: _duration(value_s) for name, value_s in durations_s.items() if value_s}


def _costs(entry: Any, of: str, *names: str) -> dict[str, float]:
    return {
        f"{name}_s": _parsed(entry.get(name, "0s"), parse_duration, f"{of}: {name}")
        for name in names
    }


def _host(entry: Any, of: str) -> Host:
    _check_fields(entry, _HOST_FIELDS, of)
    return Host(
        up_bytes_s=_parsed(_field(entry, "up", of), parse_rate, f"{of}: up"),
        down_bytes_s=_parsed(_field(entry, "down", of), parse_rate, f"{of}: down"),
        name=_name(entry.get("name", ""), of),
        flops_s=_number(entry["flops_s"], f"{of}: flops_s") if "flops_s" in entry else None,
        **_costs(entry, of, "message", "byte", "add"),
    )


def _rack(entry: Any, of: str) -> Rack:
    _check_fields(entry, ("hosts", "out", "in"), of)
    out, into = (
        _parsed(_field(entry, name, of), parse_rate, f"{of}: {name}") for name in ("out", "in")
    )
    return Rack(_members(entry, of), out, into)


def _machine(entry: Any, of: str) -> Machine:
    _check_fields(entry, ("hosts", "cores", "message"), of)
    cores = _number(_field(entry, "cores", of), f"{of}: cores")
    return Machine(_members(entry, of), cores, **_costs(entry, of, "message"))


def _members(entry: Any, of: str) -> tuple[int, ...]:
    hosts = _list(_field(entry, "hosts", of), f"{of}: hosts")
    for host in hosts:
        if type(host) is not int:
            raise UserError(f"{of}: host {shown(host)}; expected a number from 0")
    return tuple(hosts)


def _field(entry: Any, name: str, of: str) -> Any:
    if name not in _object(entry, of):
        raise UserError(f"{of} without '{name}'; expected that field")
    return entry[name]


def _check_fields(entry: Any, known: Sequence[str], of: str) -> None:
    for name in _object(entry, of):
        if name not in known:
            raise UserError(f"{of} has no field {shown(name)}{nearest(name, known)}")


def _object(value: Any, of: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{of}: {shown(value)}; expected a table")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{what}: {shown(value)}; expected a list")
    return value


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e300:
        raise UserError(f"{what}: {shown(value)}; expected a number")
    return float(value)


def _name(value: Any, of: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise UserError(f"{of}: name {shown(value)}; expected printable text")
    return value


def _parsed(text: Any, read: Callable[[str], float], what: str) -> float:
    if not isinstance(text, str):
        raise UserError(f"{what}: {shown(text)}; expected text with a unit")
    try:
        return read(text)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def _table(value: Any, read: Callable[[str], float], size: int, what: str) -> Table:
    """A table of all pairs, from one text for all of them or from rows with null for a host with itself."""
    if value is None:
        return ()
    if isinstance(value, str):
        return uniform(_parsed(value, read, what), size)
    return tuple(
        tuple(
            0.0 if a == b else _entry(entry, read, what, a, b)
            for b, entry in enumerate(_list(row, f"{what} from host {a}"))
        )
        for a, row in enumerate(_list(value, what))
    )


def _entry(entry: Any, read: Callable[[str], float], what: str, a: int, b: int) -> float:
    if entry is None:
        raise UserError(f"no {what} from host {a} to host {b}; expected one for every pair")
    return _parsed(entry, read, f"{what} from host {a} to host {b}")


def _table_document(table: Table, write: Callable[[float], str]) -> str | list[list[str | None]]:
    """One text if all pairs have the same value, else a table."""
    values = {value for a, row in enumerate(table) for b, value in enumerate(row) if a != b}
    if len(values) == 1:
        return write(values.pop())
    return [
        [None if a == b else write(value) for b, value in enumerate(row)]
        for a, row in enumerate(table)
    ]


def _pair_rate(text: str) -> float:
    return float("inf") if text == "port" else parse_rate(text)


def _rate(rate_bytes_s: float) -> str:
    return "port" if rate_bytes_s == float("inf") else f"{rate_bytes_s * 8 / 1e6!r}mbit"


def _share(share: float) -> str:
    return f"{share * 100!r}%"


def _duration(duration_s: float) -> str:
    return f"{duration_s * 1e6!r}us"


def _spread(value: Any) -> str:
    """JSON with one line for each entry of a list; anything else on one line."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "]"
