"""Strangers who connect and say nothing, or nonsense, keep nobody else waiting."""

from __future__ import annotations

import itertools
import socket
from contextlib import ExitStack

from firetree.probing.greeting import greeted

LIMIT_S = 20.0


def test_a_greeting_is_heard_beside_many_silent_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, ExitStack() as open_:
        where = listener.getsockname()
        for number in range(40):
            stranger = open_.enter_context(socket.create_connection(where))
            stranger.sendall(b"\0" * (number % 3))
        friend = open_.enter_context(socket.create_connection(where))
        friend.sendall(b"hello")
        heard = next(greeted(listener, 5, LIMIT_S))
        assert heard[1] == b"hello"
        assert heard[0].getpeername() == friend.getsockname()
        heard[0].close()


def test_connections_beyond_what_may_be_silent_push_out_the_oldest() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, ExitStack() as open_:
        where = listener.getsockname()
        first = open_.enter_context(socket.create_connection(where))
        for _ in range(300):
            open_.enter_context(socket.create_connection(where))
        friend = open_.enter_context(socket.create_connection(where))
        friend.sendall(b"hello")
        connections = greeted(listener, 5, LIMIT_S)
        stream, greeting = next(connections)
        assert greeting == b"hello"
        stream.close()
        connections.close()
        first.settimeout(LIMIT_S)
        assert first.recv(1) == b""


def test_a_greeting_that_breaks_off_is_given_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as stranger:
            stranger.sendall(b"hel")
        [(stream, greeting)] = itertools.islice(greeted(listener, 5, LIMIT_S), 1)
        stream.close()
        assert greeting == b"hel"
