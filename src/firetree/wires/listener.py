"""Where a rank lets others in: who says the group's token is one of them, all else are refused.

An unknown client costs a socket and a few bytes, for `GREETING_S` at most, and `MOST_WAITING` of them
are heard at once.
"""

from __future__ import annotations

import hmac
import logging
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
"""How long a client has to say who it is."""
MOST_WAITING = 256
"""Clients that may be about to say it; the one who came first makes room for the next."""

_GREETING = struct.Struct(f"!8s{TOKEN_BYTES}sI")
_MAGIC = b"firetree"


def greeting(token: bytes, rank: int) -> bytes:
    """What a rank says first on a connection that it makes."""
    return _GREETING.pack(_MAGIC, token, rank)


class AbsentError(TimeoutError):
    """These ranks did not come in time; `here` has the connections of those that did."""

    def __init__(self, ranks: Iterable[int], here: dict[int, socket.socket]):
        self.ranks, self.here = sorted(ranks), here
        super().__init__(", ".join(f"rank {rank}" for rank in self.ranks))


@dataclass(eq=False, slots=True)
class _Client:
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
        """Which rank it is; None for an unknown client."""
        if len(self.heard) < _GREETING.size:
            return None
        magic, told, rank = _GREETING.unpack(self.heard)
        return rank if magic == _MAGIC and hmac.compare_digest(told, token) else None


def tell_refused(count: int) -> None:
    """Tell the logger `firetree` of connections that were refused, if there are any."""
    if count:
        logging.getLogger("firetree").warning(
            "refused connections of another job, secret or program: %d", count
        )


class Listener:
    """A listening socket, at one address of this host. With a secret, clients must have it too."""

    def __init__(self, listening: socket.socket, secret: Secret | None = None):
        self._secret, self._socket = secret, listening
        listening.setblocking(False)
        self.address: str
        self.port: int
        self.address, self.port = listening.getsockname()[:2]
        self.refused = 0
        """Connections that were refused."""

    def close(self) -> None:
        """Let nobody in any more, and tell the logger `firetree` how many were refused."""
        self._socket.close()
        tell_refused(self.refused)

    def accept(
        self, token: bytes, ranks: Iterable[int], until_s: float
    ) -> dict[int, socket.socket]:
        """A connection from each of these ranks, which does not block.

        Raises:
            AbsentError: some did not come until that moment of `time.monotonic`.
        """
        missing, here = {*ranks}, dict[int, socket.socket]()
        clients: dict[socket.socket, _Client] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)

            def let_go(client: _Client) -> None:
                if clients.pop(client.stream, None) is None:
                    return  # made room for another before its own event of the same round
                selector.unregister(client.stream)
                if (rank := client.rank(token)) in missing:
                    missing.discard(rank)
                    here[rank] = client.stream
                else:
                    self.refused += 1
                    client.stream.close()

            while missing and (now_s := time.monotonic()) <= until_s:
                for late in [it for it in clients.values() if it.until_s < now_s]:
                    let_go(late)
                for key, _ in selector.select(min(until_s - now_s, GREETING_S)):
                    if key.fileobj is not self._socket:
                        if not key.data.hears_on():
                            let_go(key.data)
                    elif client := self._next(now_s):
                        if len(clients) == MOST_WAITING:
                            let_go(next(iter(clients.values())))
                        clients[client.stream] = client
                        selector.register(client.stream, selectors.EVENT_READ, client)
            for client in [*clients.values()]:
                let_go(client)
        if missing:
            raise AbsentError(missing, here)
        return here

    def _next(self, now_s: float) -> _Client | None:
        try:
            stream, _ = self._socket.accept()
        except OSError:  # gone already
            return None
        stream.setblocking(False)
        try:
            stream = self._secret.called(stream) if self._secret else stream
        except OSError:  # reset before TLS could begin
            self.refused += 1
            return None
        return _Client(stream, now_s + GREETING_S)
