"""A network's JSON: every figure with its unit, so that a person can read, write and mend it.

    {"version": 2,
     "hosts": [{"up": "200mbit", "down": "200mbit"}, …],
     "racks": [{"hosts": [0, 1], "out": "100mbit", "in": "100mbit"}, …],
     "latency": "80us", or a table [[null, "80us"], ["80us", null]]}

Of a host only `up` and `down` must be there; `name`, `message`, `byte` and `add` (durations),
`burst` (bytes) and `flops_s` may. `machines` are `{"hosts": […], "cores": 2}`, `rate` is a table like
`latency`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from firetree.errors import UserError, nearest
from firetree.network.network import Host, Machine, Network, Rack, Table, uniform
from firetree.network.units import parse_duration, parse_rate

NETWORK_VERSION = 2

_FIELDS = ("version", "hosts", "racks", "machines", "latency", "rate")
_HOST_FIELDS = ("name", "up", "down", "message", "byte", "add", "burst", "flops_s")


def to_json(network: Network) -> str:
    """The network as this module's JSON, every figure in full."""
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
            {"hosts": machine.hosts, "cores": machine.cores} for machine in network.machines
        ]
    if network.latency_s:
        document["latency"] = _table_document(network.latency_s, _duration)
    if network.pair_bytes_s:
        document["rate"] = _table_document(network.pair_bytes_s, _rate)
    rows = ",\n".join(f'"{name}": {_spread(value)}' for name, value in document.items())
    return f"{{{rows}}}\n"


def from_json(text: str) -> Network:
    """Read what `to_json` wrote, or a person.

    Raises:
        UserError: the text is not a network of this version; the first fault is named.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UserError(f"not a network: not JSON: {error}") from error
    try:
        if document["version"] != NETWORK_VERSION:
            raise UserError(
                f"a network of version {document['version']}; expected {NETWORK_VERSION}"
            )
        _check_fields(document, _FIELDS, "a network")
        hosts = tuple(_host(entry) for entry in document["hosts"])
        return Network(
            hosts,
            tuple(
                Rack(_numbers(r["hosts"]), parse_rate(r["out"]), parse_rate(r["in"]))
                for r in document.get("racks", ())
            ),
            tuple(
                Machine(_numbers(m["hosts"]), _number(m["cores"]))
                for m in document.get("machines", ())
            ),
            _table(document.get("latency"), parse_duration, len(hosts), "latency"),
            _table(document.get("rate"), _pair_rate, len(hosts), "rate"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"not a network: {what}; see `firetree plan --help`") from error


def _host_document(host: Host) -> dict[str, Any]:
    document: dict[str, Any] = {"name": host.name} if host.name else {}
    document |= {"up": _rate(host.up_bytes_s), "down": _rate(host.down_bytes_s)}
    for name, duration_s in (
        ("message", host.message_s),
        ("byte", host.byte_s),
        ("add", host.add_s),
    ):
        if duration_s:
            document[name] = _duration(duration_s)
    if host.burst_bytes:
        document["burst"] = host.burst_bytes
    if host.flops_s is not None:
        document["flops_s"] = host.flops_s
    return document


def _host(entry: Mapping[str, Any]) -> Host:
    _check_fields(entry, _HOST_FIELDS, "a host")
    return Host(
        up_bytes_s=parse_rate(entry["up"]),
        down_bytes_s=parse_rate(entry["down"]),
        name=str(entry.get("name", "")),
        message_s=parse_duration(entry.get("message", "0s")),
        byte_s=parse_duration(entry.get("byte", "0s")),
        add_s=parse_duration(entry.get("add", "0s")),
        burst_bytes=_number(entry.get("burst", 0.0)),
        flops_s=_number(entry["flops_s"]) if "flops_s" in entry else None,
    )


def _check_fields(entry: Mapping[str, Any], known: Sequence[str], of: str) -> None:
    for name in entry:
        if name not in known:
            raise UserError(f"{of} has no field '{name}'{nearest(name, known)}")


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r}, expected a number")
    return float(value)  # type: ignore[arg-type]


def _numbers(values: Sequence[object]) -> tuple[int, ...]:
    for value in values:
        if type(value) is not int:
            raise TypeError(f"{value!r}, expected a host's number")
    return tuple(values)  # type: ignore[arg-type]


def _table(value: Any, read: Callable[[str], float], size: int, what: str) -> Table:
    """A table of all pairs; one text stands for all of them, null only for a host with itself."""
    if value is None:
        return ()
    if isinstance(value, str):
        return uniform(read(value), size)
    return tuple(
        tuple(0.0 if a == b else _entry(entry, read, what, a, b) for b, entry in enumerate(row))
        for a, row in enumerate(value)
    )


def _entry(entry: Any, read: Callable[[str], float], what: str, a: int, b: int) -> float:
    if entry is None:
        raise UserError(f"no {what} from host {a} to host {b}; expected one for every pair")
    return read(entry)


def _table_document(table: Table, write: Callable[[float], str]) -> list[list[str | None]]:
    return [
        [None if a == b else write(value) for b, value in enumerate(row)]
        for a, row in enumerate(table)
    ]


def _pair_rate(text: str) -> float:
    return float("inf") if text == "port" else parse_rate(text)


def _rate(rate_bytes_s: float) -> str:
    return "port" if rate_bytes_s == float("inf") else f"{rate_bytes_s * 8 / 1e6!r}mbit"


def _duration(duration_s: float) -> str:
    return f"{duration_s * 1e6!r}us"


def _spread(value: Any) -> str:
    """A list with a line for each of its entries; anything else on one line."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "]"
