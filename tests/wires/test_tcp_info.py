"""What the kernel says of a connection is read whole, and as much of it as an older kernel says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.wires.own_connections import SentBytes
from firetree.wires.tcp_info import TcpInfo, parse_tcp_info, read_tcp_info

LONGEST_BYTES = 280


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        calling = socket.create_connection(listener.getsockname(), 10)
        answering, _ = listener.accept()
        with calling, answering:
            yield calling, answering


def exchange(sender: socket.socket, receiver: socket.socket, size_bytes: int) -> None:
    """Send so many bytes, and one back, which acknowledges them."""
    sender.sendall(bytes(size_bytes))
    left = size_bytes
    while left:
        left -= len(receiver.recv(left))
    receiver.sendall(b"!")
    assert sender.recv(1) == b"!"


def now(stream: socket.socket) -> TcpInfo:
    info = read_tcp_info(stream)
    assert info is not None
    return info


def test_a_connection_tells_its_bytes_and_times(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    one, other = connection
    exchange(one, other, 300_000)
    sent, received = now(one), now(other)
    assert (sent.sent_bytes, sent.received_bytes) == (300_000, 1)
    assert sent.acked_bytes == 300_001  # the kernel counts the connection's first, empty message
    assert (received.sent_bytes, received.received_bytes) == (1, 300_000)
    assert (sent.retransmissions, sent.retransmitted_bytes) == (0, 0)
    assert sent.rtt_s is not None
    assert sent.min_rtt_s is not None
    assert 0 < sent.min_rtt_s <= 1
    assert 0 < sent.rtt_s <= 1
    assert sent.delivery_bytes_s
    assert sent.cwnd_segments
    assert sent.mss_bytes == one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert None not in asdict(sent).values()


def test_counters_can_begin_later_and_values_of_now_stay(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    exchange(*connection, 1000)
    earlier = now(connection[0])
    exchange(*connection, 5000)
    later = now(connection[0])
    added = later.since(earlier)
    assert (added.acked_bytes, added.sent_bytes, added.received_bytes) == (5000, 5000, 1)
    assert (added.rtt_s, added.cwnd_segments) == (later.rtt_s, later.cwnd_segments)
    assert later.since(TcpInfo()).acked_bytes is None
    assert earlier.since(later).acked_bytes == 0  # as after a counter's largest value


def test_what_is_no_open_tcp_connection_tells_nothing(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    connection[0].close()
    assert read_tcp_info(connection[0]) is None
    one, other = socket.socketpair()
    with one, other:
        assert read_tcp_info(one) is None


@given(st.binary(min_size=LONGEST_BYTES, max_size=LONGEST_BYTES), st.integers(0, LONGEST_BYTES))
def test_a_shorter_answer_has_fewer_fields_with_the_same_values(
    content: bytes, size_bytes: int
) -> None:
    whole, part = (asdict(parse_tcp_info(it)) for it in (content, content[:size_bytes]))
    told = {name: value for name, value in part.items() if value is not None}
    assert told.items() <= whole.items()
    shorter = asdict(parse_tcp_info(content[: size_bytes // 2]))
    assert {name for name, value in shorter.items() if value is not None} <= told.keys()


def test_a_round_trip_that_was_not_measured_is_none() -> None:
    assert parse_tcp_info(b"\xff" * LONGEST_BYTES).min_rtt_s is None


def test_sent_bytes_are_counted_on_connections_that_are_closed_by_now(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    count = SentBytes()
    before = count.count()
    exchange(*connection, 1000)
    assert count.count() - before == 1001
    connection[0].close()
    assert count.count() - before == 1001
