"""What rank 0 asks of the hosts during a probe, and what they answer: a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from firetree.documents import from_document, parse_json
from firetree.errors import RunFailedError


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a host takes data connections."""

    rank: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to these hosts."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class MeasureCosts:
    """Measure what messages and sums cost this host alone; answered by `Costs`."""


@dataclass(frozen=True, slots=True)
class MeasureMessages:
    """Send so many messages around a ring: to rank `to`, from rank `take_from`."""

    to: int
    take_from: int
    count: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Send to and receive from ranks for `span_s`, at most `most_bytes`.

    `to` has for each receiver how many bytes may be under way at once.
    """

    to: tuple[tuple[int, int], ...]
    take_from: tuple[int, ...]
    span_s: float
    most_bytes: int
    add_up: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """Receive from each rank until all bytes that it ever sent have arrived."""

    totals: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Send single bytes to a host that has the order to `Echo` them."""

    peer: int
    count: int


@dataclass(frozen=True, slots=True)
class Echo:
    """Answer each of a host's bytes with one."""

    peer: int
    count: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A sign that rank 0 is alive; it needs no answer."""


@dataclass(frozen=True, slots=True)
class End:
    """The probe is over; its result as JSON."""

    probe: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The probe is over without a result."""

    why: str


Order = Connect | MeasureCosts | MeasureMessages | Stream | Drain | Ping | Echo | Wait | End | Fail
_ORDERS = {kind.__name__: kind for kind in get_args(Order)}


@dataclass(frozen=True, slots=True)
class Introduction:
    """The first line from a host; hosts with the same `machine` share its cores.

    `interface` is the one that `address` is of, empty where it is unknown.
    """

    rank: int
    name: str
    address: str
    port: int
    machine: str
    cores: int
    interface: str
    is_wireless: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """The ranks that could be reached."""

    reached: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MessageCost:
    """CPU seconds of each end of a message in the ring; None where a host did not take part."""

    message_s: float | None


@dataclass(frozen=True, slots=True)
class Streamed:
    """All bytes ever sent to each receiver, and the rate at which each sender's arrived."""

    sent: tuple[tuple[int, int], ...]
    rates: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """All bytes have arrived, or their sender has stopped."""


@dataclass(frozen=True, slots=True)
class Echoes:
    """Seconds from each byte to its echo; none from the host that echoed."""

    times_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    order: str
    number: int
    limit_s: float
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replied:
    """An answer to the order of that number."""

    number: int
    fields: Mapping[str, Any]


def encode(message: Any) -> bytes:
    """A dataclass as a line."""
    return json.dumps(asdict(message)).encode() + b"\n"


def encode_order(order: Order, number: int = 0, limit_s: float = 0.0) -> bytes:
    """An order as a line; a host has `limit_s` for it."""
    return encode(_Asked(type(order).__name__, number, limit_s, asdict(order)))


def read_order(line: bytes) -> tuple[Order, int, float]:
    """An order, its number and limit.

    Raises:
        RunFailedError: an order of another version of firetree.
    """
    asked = parse_json(_Asked, line, "rank 0's order")
    if asked.order not in _ORDERS:
        raise RunFailedError(
            f"rank 0 asks for '{asked.order}'; expected the same firetree everywhere"
        )
    order: Order = from_document(_ORDERS[asked.order], asked.fields, "rank 0's order")
    return order, asked.number, asked.limit_s
