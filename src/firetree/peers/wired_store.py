"""A store of torch.distributed that rank 0 keeps, with one connection to each other rank.

Ranks put small values there, as addresses, and wait for those of others. It goes wherever torch takes
a store. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from firetree.peers.exchange import Json

_TURN_S = 0.05
"""For so long a request may wait, while the rank's other threads cannot ask."""
_MOST_BYTES = 1 << 24
_TEXT = "latin-1"
"""Writes any bytes as a str, and back."""

_Ask = Callable[..., Json]
"""Does what `_Values` has by a name, with these arguments."""


class WiredStore(dist.Store):
    """One rank's end of a store: `kept_for` on rank 0, `kept_by` elsewhere.

    Hold it for as long as torch uses it: torch holds the C++ part alone.

    All calls raise DistNetworkError where rank 0 is gone or silent for longer than the time-out; those
    that wait raise DistStoreError where a key is not set within it.
    """

    def __init__(self, ask: _Ask, timeout_s: float):
        super().__init__()
        self._ask = ask
        self.set_timeout(timedelta(seconds=timeout_s))

    @staticmethod
    def kept_for(streams: Mapping[int, socket.socket], timeout_s: float) -> WiredStore:
        """Keep the values, on rank 0, for the other ranks at the ends of these connections."""
        values = _Values()
        for rank, stream in streams.items():
            stream.settimeout(None)
            name, asked = f"firetree-store-{rank}", (stream, values)
            threading.Thread(target=_serve, args=asked, name=name, daemon=True).start()
        return WiredStore(values.do, timeout_s)

    @staticmethod
    def kept_by(stream: socket.socket, timeout_s: float) -> WiredStore:
        """The store that rank 0 keeps at the other end of this connection."""
        stream.settimeout(timeout_s)
        return WiredStore(_Away(stream).ask, timeout_s)

    # What torch calls; its C++ part knows three of them by other names than its Python part.

    def set(self, key: str, value: bytes | str) -> None:
        self._ask("set", key, _as_text(value))

    def get(self, key: str) -> bytes:
        self.wait([key])
        return _as_bytes(self._ask("get", key))

    def add(self, key: str, amount: int) -> int:
        return int(self._ask("add", key, amount))

    def compare_set(self, key: str, expected: bytes | str, desired: bytes | str) -> bytes:
        return _as_bytes(self._ask("compare_set", key, _as_text(expected), _as_text(desired)))

    def check(self, keys: Sequence[str]) -> bool:
        return bool(self._ask("check", [*keys], 0.0))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        limit_s = (timeout or self.timeout).total_seconds()  # type: ignore[attr-defined]
        until_s = time.monotonic() + limit_s
        while not self._ask("check", [*keys], max(0.0, min(_TURN_S, until_s - time.monotonic()))):
            if time.monotonic() > until_s:
                raise dist.DistStoreError(f"{', '.join(keys)} not set within {limit_s:g} s")

    def delete_key(self, key: str) -> bool:
        return bool(self._ask("delete", key))

    def num_keys(self) -> int:
        return int(self._ask("count"))

    deleteKey, getNumKeys = delete_key, num_keys


class _Values:
    """The values of a store, for several threads."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()

    def do(self, name: str, *arguments: Any) -> Json:
        """One of the following, by name (KeyError for another)."""
        with self._changed:
            return _REQUESTS[name](self, *arguments)

    def set(self, key: str, value: str) -> None:
        self._values[key] = value
        self._changed.notify_all()

    def get(self, key: str) -> str:
        return self._values.get(key, "")

    def add(self, key: str, amount: int) -> int:
        total = int(self._values.get(key, "0")) + amount
        self.set(key, str(total))
        return total

    def compare_set(self, key: str, expected: str, desired: str) -> str:
        if self._values.get(key, "") == expected:
            self.set(key, desired)
        return self._values.get(key, expected)

    def check(self, keys: Sequence[str], within_s: float) -> bool:
        return self._changed.wait_for(lambda: all(key in self._values for key in keys), within_s)

    def delete(self, key: str) -> bool:
        return self._values.pop(key, None) is not None

    def count(self) -> int:
        return len(self._values)


_REQUESTS: Mapping[str, Callable[..., Json]] = {
    name: getattr(_Values, name)
    for name in ("set", "get", "add", "compare_set", "check", "delete", "count")
}


def _serve(stream: socket.socket, values: _Values) -> None:
    """Answer a rank until it is gone, or asks what cannot be."""
    with (
        stream,
        suppress(OSError, ValueError, TypeError, KeyError),
        stream.makefile("rwb") as lines,
    ):
        while line := lines.readline(_MOST_BYTES):
            lines.write(_line(values.do(*json.loads(line))))
            lines.flush()


class _Away:
    """Values that are kept at the other end of a connection."""

    def __init__(self, stream: socket.socket):
        self._stream, self._lines = stream, stream.makefile("rb")
        self._turn = threading.Lock()

    def ask(self, *request: Json) -> Json:
        with self._turn:
            try:
                self._stream.sendall(_line(request))
                answer = self._lines.readline(_MOST_BYTES)
            except OSError as error:
                raise dist.DistNetworkError(f"rank 0, which keeps the store: {error}") from error
        if not answer:
            raise dist.DistNetworkError("rank 0, which keeps the store, has closed the connection")
        return json.loads(answer)


def _line(message: Json) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _as_text(value: bytes | str) -> str:
    return (value.encode() if isinstance(value, str) else value).decode(_TEXT)


def _as_bytes(text: str) -> bytes:
    return text.encode(_TEXT)
