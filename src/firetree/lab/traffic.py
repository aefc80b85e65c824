"""Measure the rates of TCP streams between hosts of a lab.

The sockets are created in the hosts' namespaces but used by this process, so that a measurement needs one
process and one clock.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from firetree.lab import namespaces
from firetree.lab.lab import Lab

_SPAN_S = (0.4, 3.0)
"""The shortest and the longest measurement; in between, it ends after _SPAN_BYTES."""
_SPAN_BYTES = 3e6
_CONNECT_S = 2.0
_WINDOW_S = 0.02
"""A stream's window in seconds of its rate: it fills the link without a long queue."""
_LEAST_WINDOW_BYTES = 1 << 17

_SO_RCVBUFFORCE = 33


@dataclass(frozen=True, slots=True)
class Load:
    """Streams (from host, to host) that together fill a link, or none and the reason."""

    link: str
    rate_bytes_s: float
    streams: tuple[tuple[int, int], ...] = ()
    reason: str = ""


def measure(lab: Lab, loads: Sequence[Load]) -> list[float]:
    """The payload rate of each load in bytes a second, all at once; 0 if it cannot connect."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as arriving:
        senders: list[socket.socket] = []
        for index, load in enumerate(loads):
            window_bytes = max(_LEAST_WINDOW_BYTES, round(load.rate_bytes_s * _WINDOW_S))
            for source, target in load.streams:
                with contextlib.suppress(OSError):
                    sender, receiver = _connect(lab, source, target, window_bytes)
                    senders.append(stack.enter_context(sender))
                    stack.enter_context(receiver)
                    arriving.register(receiver, selectors.EVENT_READ, index)
        span_s = _span_s(min(load.rate_bytes_s for load in loads))
        # Wait for TCP to reach its rate, and for queues of the last measurement to drain.
        start = time.monotonic() + span_s / 2
        sending = threading.Thread(target=_send, args=(senders, start + span_s))
        sending.start()
        arrivals = _receive(arriving, len(loads), start, start + span_s)
        sending.join()
    return [_rate(load, span_s) for load in arrivals]


def _connect(
    lab: Lab, source: int, target: int, window_bytes: int
) -> tuple[socket.socket, socket.socket]:
    with namespaces.inside(lab.namespace(target), socket.socket) as listener:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, window_bytes)
        listener.bind((lab.address(target), 0))
        listener.listen()
        sender = namespaces.inside(lab.namespace(source), socket.socket)
        sender.settimeout(_CONNECT_S)
        try:
            sender.connect(listener.getsockname())
        except OSError:
            sender.close()
            raise
        receiver = listener.accept()[0]
    sender.setblocking(False)
    return sender, receiver


def _send(senders: Sequence[socket.socket], end: float) -> None:
    data = bytes(1 << 20)
    with selectors.DefaultSelector() as leaving:
        for sender in senders:
            leaving.register(sender, selectors.EVENT_WRITE)
        while (left_s := end - time.monotonic()) > 0:
            for key, _ in leaving.select(left_s):
                with contextlib.suppress(OSError):
                    os.write(key.fd, data)


def _receive(
    arriving: selectors.BaseSelector, loads: int, start: float, end: float
) -> list[list[tuple[float, int]]]:
    """The time and bytes of each load's arrivals from `start` to `end`."""
    buffer = bytearray(1 << 20)
    arrivals: list[list[tuple[float, int]]] = [[] for _ in range(loads)]
    while (left_s := end - time.monotonic()) > 0:
        for key, _ in arriving.select(left_s):
            assert isinstance(key.fileobj, socket.socket)
            size_bytes = key.fileobj.recv_into(buffer)
            if (now := time.monotonic()) >= start:
                arrivals[key.data].append((now, size_bytes))
    return arrivals


def _span_s(slowest_bytes_s: float) -> float:
    least_s, most_s = _SPAN_S
    return min(most_s, max(least_s, _SPAN_BYTES / slowest_bytes_s))


def _rate(arrivals: Sequence[tuple[float, int]], span_s: float) -> float:
    """Bytes a second from the first to the last arrival, as at low rates arrivals are far apart."""
    if not arrivals:
        return 0.0
    between_s = arrivals[-1][0] - arrivals[0][0]
    return sum(size_bytes for _, size_bytes in arrivals[1:]) / max(between_s, span_s / 2)
