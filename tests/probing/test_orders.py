"""What rank 0 asks arrives as it was meant, and what nobody understands is told in one line."""

from __future__ import annotations

import json

import pytest

from firetree.errors import RunFailedError, UserError
from firetree.probing.orders import (
    Connect,
    Drain,
    Echo,
    End,
    Fail,
    MeasureCosts,
    MeasureMessages,
    Order,
    Peer,
    Ping,
    Stream,
    Wait,
    encode_order,
    read_order,
)

ORDERS: tuple[Order, ...] = (
    Connect((Peer(1, "10.0.0.2", 4_000), Peer(2, "fe80::1", 1))),
    MeasureCosts(),
    MeasureMessages(3, 4, 80),
    Stream(((1, 32_768), (2, 65_536)), (2,), 0.25, 1 << 24, True),
    Drain(((1, 10), (2, 0))),
    Ping(3, 20),
    Echo(0, 20),
    Wait(),
    End('{"version": 1}'),
    Fail("no"),
)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_an_order_arrives_as_it_was_given(order: Order) -> None:
    line = encode_order(order, 7, 0.5)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_order(line) == (order, 7, 0.5)


def test_an_order_of_another_version_is_named() -> None:
    line = json.dumps({"order": "Guess", "number": 1, "limit_s": 1.0, "fields": {}})
    with pytest.raises(RunFailedError, match="rank 0 asks for 'Guess'; expected the same firetree"):
        read_order(line.encode())
    line = json.dumps({"order": "Ping", "number": 1, "limit_s": 1.0, "fields": {"peer": "1"}})
    with pytest.raises(UserError, match="rank 0's order: peer = '1'; expected int"):
        read_order(line.encode())
