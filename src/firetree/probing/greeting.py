"""Accept connections and read their greetings, without waiting for silent strangers."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import time
from collections.abc import Iterator

_PATIENCE_S = 5.0
"""How long a connection may take to greet."""
_MOST_SILENT = 256
"""How many connections may be silent at once; beyond that the oldest is closed."""
_LOOK_S = 0.5


def greeted(
    listener: socket.socket, size_bytes: int, limit_s: float = math.inf
) -> Iterator[tuple[socket.socket, bytes]]:
    """New connections with the first `size_bytes` of each; a silent one keeps nobody waiting.

    Ends after `limit_s`, or when the listener is shut down. Fewer bytes mean that the peer has hung up.
    """
    end_s = time.monotonic() + limit_s
    silent: dict[socket.socket, float] = {}
    with _closed_at_the_end(silent), selectors.DefaultSelector() as arriving:
        arriving.register(listener, selectors.EVENT_READ)
        while (left_s := end_s - time.monotonic()) > 0:
            for key, _ in arriving.select(min(left_s, _LOOK_S)):
                if key.fileobj is listener:
                    try:
                        stream = listener.accept()[0]
                    except OSError:
                        return
                    # The stream becomes readable only when the whole greeting is there.
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)
                    stream.setblocking(False)
                    arriving.register(stream, selectors.EVENT_READ, stream)
                    silent[stream] = time.monotonic() + _PATIENCE_S
                else:
                    stream = key.data
                    arriving.unregister(stream)
                    del silent[stream]
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                    yield stream, _received(stream, size_bytes)
            for stream in _overdue(silent):
                arriving.unregister(stream)
                del silent[stream]
                stream.close()


@contextlib.contextmanager
def _closed_at_the_end(streams: dict[socket.socket, float]) -> Iterator[None]:
    try:
        yield
    finally:
        for stream in streams:
            stream.close()


def _overdue(silent: dict[socket.socket, float]) -> list[socket.socket]:
    too_many, now_s = max(0, len(silent) - _MOST_SILENT), time.monotonic()
    return [
        stream
        for index, (stream, until_s) in enumerate(silent.items())
        if index < too_many or until_s < now_s
    ]


def _received(stream: socket.socket, size_bytes: int) -> bytes:
    try:
        return stream.recv(size_bytes)
    except OSError:
        return b""
