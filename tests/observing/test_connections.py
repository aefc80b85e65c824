"""What the kernel says of this process's connections."""

from __future__ import annotations

import socket
import threading

from firetree.observing.connections import TcpConnections
from firetree.observing.run_queue import RunQueue


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def name(stream: socket.socket) -> tuple[str, str]:
    return tuple(":".join(map(str, it)) for it in (stream.getsockname(), stream.getpeername()))  # type: ignore[return-value]


def test_both_ends_of_a_connection_are_told_with_what_moved_since_the_last_time() -> None:
    one, other = connected()
    with one, other:
        one.sendall(bytes(1000))
        other.recv(1000, socket.MSG_WAITALL)
        connections = TcpConnections()
        one.sendall(bytes(300))
        other.recv(300, socket.MSG_WAITALL)
        found = {(it.local, it.remote): it for it in connections.take()}
        assert found[name(one)].tcp.sent_bytes == 300
        assert found[name(other)].tcp.received_bytes == 300
        assert name(one) == name(other)[::-1]
        assert found[name(one)].start_s < found[name(one)].end_s
        assert name(one) not in {(it.local, it.remote) for it in connections.take()}


def test_a_connection_that_is_made_later_is_told_from_its_beginning() -> None:
    connections = TcpConnections()
    one, other = connected()
    with one, other:
        one.sendall(bytes(70))
        other.recv(70, socket.MSG_WAITALL)
        found = {(it.local, it.remote): it for it in connections.take()}
        assert found[name(one)].tcp.sent_bytes == 70


def test_reading_a_connection_does_not_keep_it_open() -> None:
    one, other = connected()
    with other:
        connections = TcpConnections()
        connections.take()
        one.close()
        assert other.recv(1) == b"", "the other end hears of it"


def test_a_thread_that_waits_for_another_one_is_not_starved() -> None:
    queue, over = RunQueue(), threading.Event()
    before_s = queue.waited_s()
    threading.Timer(0.3, over.set).start()
    over.wait()
    assert queue.waited_s() - before_s < 0.25
