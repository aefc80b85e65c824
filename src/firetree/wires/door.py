"""Where a rank lets others in: who says the group's token is one of them, all else are turned away.

A stranger costs a socket and a few bytes, for `GREETING_S` at most, and there are `MOST_WAITING` at once.
"""

from __future__ import annotations

import hmac
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from firetree.wires.secret import Secret

TOKEN_BYTES = 32
GREETING_S = 2.0
"""How long a caller has to say who it is."""
MOST_WAITING = 256
"""Callers that may be about to say it; the one who came first makes room for the next."""

_GREETING = struct.Struct(f"!8s{TOKEN_BYTES}sI")
_MAGIC = b"firetree"


def greeting(token: bytes, rank: int) -> bytes:
    """What a rank says first on a connection that it makes."""
    return _GREETING.pack(_MAGIC, token, rank)


@dataclass(eq=False, slots=True)
class _Caller:
    stream: socket.socket
    until_s: float
    heard: bytearray = field(default_factory=bytearray)

    def hears_on(self) -> bool:
        """Take what has come of the greeting; whether more of it may come."""
        try:
            if isinstance(self.stream, ssl.SSLSocket) and not self.heard:
                self.stream.do_handshake()  # does nothing once it is through
            part = self.stream.recv(_GREETING.size - len(self.heard))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        self.heard += part
        return bool(part) and len(self.heard) < _GREETING.size

    def rank(self, token: bytes) -> int | None:
        """Which rank the caller is; None for a stranger."""
        if len(self.heard) < _GREETING.size:
            return None
        magic, told, rank = _GREETING.unpack(self.heard)
        return rank if magic == _MAGIC and hmac.compare_digest(told, token) else None


class Door:
    """A listening socket, at one address of this host. With a secret, callers must have it too."""

    def __init__(self, listener: socket.socket, secret: Secret | None = None):
        self._secret, self._socket = secret, listener
        listener.setblocking(False)
        self.address: str
        self.port: int
        self.address, self.port = listener.getsockname()[:2]
        self.strangers = 0
        """Callers that were turned away."""

    def close(self) -> None:
        """Let nobody in any more."""
        self._socket.close()

    def answer(
        self, token: bytes, ranks: Iterable[int], until_s: float
    ) -> dict[int, socket.socket]:
        """A connection from each of these ranks.

        Raises:
            TimeoutError: some did not come until that moment of `time.monotonic`; it names them.
        """
        missing, here = {*ranks}, dict[int, socket.socket]()
        callers: dict[socket.socket, _Caller] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)

            def let_go(caller: _Caller) -> None:
                if callers.pop(caller.stream, None) is None:
                    return  # made room for another before its own event of the same round
                selector.unregister(caller.stream)
                if (rank := caller.rank(token)) in missing:
                    missing.discard(rank)
                    here[rank] = caller.stream
                else:
                    self.strangers += 1
                    caller.stream.close()

            while missing:
                now_s = time.monotonic()
                if now_s > until_s:
                    raise TimeoutError(", ".join(f"rank {rank}" for rank in sorted(missing)))
                for late in [it for it in callers.values() if it.until_s < now_s]:
                    let_go(late)
                for key, _ in selector.select(min(until_s - now_s, GREETING_S)):
                    if key.fileobj is not self._socket:
                        if not key.data.hears_on():
                            let_go(key.data)
                    elif caller := self._next(now_s):
                        if len(callers) == MOST_WAITING:
                            let_go(next(iter(callers.values())))
                        callers[caller.stream] = caller
                        selector.register(caller.stream, selectors.EVENT_READ, caller)
            for caller in [*callers.values()]:
                let_go(caller)
        return here

    def _next(self, now_s: float) -> _Caller | None:
        try:
            stream, _ = self._socket.accept()
        except OSError:  # gone already
            return None
        stream.setblocking(False)
        try:
            stream = self._secret.called(stream) if self._secret else stream
        except OSError:  # reset before TLS could begin
            self.strangers += 1
            return None
        return _Caller(stream, now_s + GREETING_S)
