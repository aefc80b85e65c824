"""What the kernel says of this process's TCP connections, from one time to the next."""

from __future__ import annotations

import time
from dataclasses import dataclass

from firetree.trace import ConnectionSpan
from firetree.wires.own_connections import own_connections
from firetree.wires.tcp_info import TcpInfo

_MOST = 256
"""Connections that are told: those with the most bytes."""


@dataclass(frozen=True, slots=True)
class _Reading:
    info: TcpInfo
    at_s: float


class TcpConnections:
    """The connections of this process, by their two addresses."""

    def __init__(self) -> None:
        self._earlier = {ends: _Reading(info, time.monotonic()) for ends, info in own_connections()}

    def take(self) -> tuple[ConnectionSpan, ...]:
        """Each connection that moved bytes since the last call, or since it was made."""
        earlier, now_s = self._earlier, time.monotonic()
        self._earlier = {ends: _Reading(info, now_s) for ends, info in own_connections()}
        found = []
        for ends, reading in self._earlier.items():
            before = earlier.get(ends, _Reading(TcpInfo(), now_s))
            tcp = reading.info.since(before.info) if ends in earlier else reading.info
            if tcp.sent_bytes or tcp.received_bytes:
                found.append(ConnectionSpan(*ends, before.at_s, now_s, tcp))
        found.sort(key=lambda it: -((it.tcp.sent_bytes or 0) + (it.tcp.received_bytes or 0)))
        return tuple(found[:_MOST])
