"""What the kernel says of every TCP connection that this process holds open, whoever made it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from firetree.wires.tcp_info import TcpInfo, read_tcp_info

_INTERNET = socket.AF_INET, socket.AF_INET6

Ends = tuple[str, str]
"""A connection's own address and the other end's, such as `10.0.0.1:4455`."""


def own_connections() -> Iterator[tuple[Ends, TcpInfo]]:
    """Each open connection.

    A descriptor is only borrowed while it is read: a second one would keep a connection open that its
    owner closes.
    """
    for descriptor in _sockets():
        # Its family is asked for: an address of another one would be read cut off.
        borrowed = socket.socket(fileno=descriptor)
        try:
            info = read_tcp_info(borrowed) if borrowed.family in _INTERNET else None
            if info is not None:
                yield (_text(borrowed.getsockname()), _text(borrowed.getpeername())), info
        except OSError:
            pass  # it listens, is closed, or is no TCP connection
        finally:
            borrowed.detach()


def _sockets() -> Iterator[int]:
    try:
        entries = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return
    for descriptor in entries:
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                yield descriptor
        except OSError:  # closed in the meantime
            continue


def _text(address: object) -> str:
    """`10.0.0.1:4455`; empty where it is no internet address."""
    if not isinstance(address, tuple) or len(address) < 2:
        return ""
    host = str(address[0]).removeprefix("::ffff:").partition("%")[0]
    return f"{host}:{address[1]}"


class SentBytes:
    """Counts what this process has sent over TCP, as the kernel has it, on closed connections too.

    The backend's own all-reduce counts no bytes in the process, and an executor's count is checked by
    this one. A connection that is closed counts up to the last time that it was seen. What TCP had to
    send again counts once.
    """

    def __init__(self) -> None:
        self._sent: dict[Ends, int] = {}
        self._earlier = 0

    def count(self) -> int:
        """Bytes so far, never fewer than before; 0 where the kernel does not say."""
        for ends, info in own_connections():
            before = self._sent.get(ends, 0)
            now = (info.sent_bytes or 0) - (info.retransmitted_bytes or 0)
            if now < before:  # another connection between the same ends
                self._earlier += before
            self._sent[ends] = now
        return self._earlier + sum(self._sent.values())
