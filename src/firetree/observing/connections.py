"""What the kernel says of every TCP connection that this process holds open, whoever made it."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firetree.trace import ConnectionSpan
from firetree.wires.tcp_info import TcpInfo, read_tcp_info

_MOST = 256
"""Connections that are told: those with the most bytes."""


@dataclass(frozen=True, slots=True)
class _Reading:
    info: TcpInfo
    at_s: float


class TcpConnections:
    """The connections of this process, by their two addresses.

    A descriptor is only borrowed while it is read: a second one would keep a connection open that its
    owner closes.
    """

    def __init__(self) -> None:
        self._earlier = {name: _Reading(info, time.monotonic()) for name, info in _read()}

    def take(self) -> tuple[ConnectionSpan, ...]:
        """Each connection that moved bytes since the last call, or since it was made."""
        earlier, now_s = self._earlier, time.monotonic()
        self._earlier = {name: _Reading(info, now_s) for name, info in _read()}
        found = []
        for name, reading in self._earlier.items():
            before = earlier.get(name, _Reading(TcpInfo(), now_s))
            tcp = reading.info.since(before.info) if name in earlier else reading.info
            if tcp.sent_bytes or tcp.received_bytes:
                found.append(ConnectionSpan(*name, before.at_s, now_s, tcp))
        found.sort(key=lambda it: -((it.tcp.sent_bytes or 0) + (it.tcp.received_bytes or 0)))
        return tuple(found[:_MOST])


def _read() -> Iterator[tuple[tuple[str, str], TcpInfo]]:
    for descriptor in _sockets():
        borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
        try:
            info = read_tcp_info(borrowed)
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
