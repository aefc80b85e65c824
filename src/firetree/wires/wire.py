"""What connects one rank with another; bytes go between memory and sockets with no copy of our own."""

from __future__ import annotations

import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Callable, Iterable
from contextlib import suppress

UNSENT_BYTES, UNSENT_IN_TURN_BYTES = 1 << 22, 1 << 17
"""A send ends when no more than this waits in the kernel: less where the next one waits for its end."""

_TIMESTAMPING = 37
_TELLS, _ASKS = ((1 << 4 | 1 << 11).to_bytes(4, sys.byteorder), (1 << 1).to_bytes(4, sys.byteorder))
"""Linux' SO_TIMESTAMPING: the kernel tells, without the bytes, when those leave it of a send that asks."""

_RECORD_BYTES = 1 << 14


class WireClosedError(ConnectionError):
    """The other rank has closed the connection, or its host has."""


class Wire:
    """Connected sockets to send and to receive on, which may be one and the same. Nothing here waits."""

    def __init__(self, outgoing: socket.socket, incoming: socket.socket):
        self.outgoing, self.incoming = outgoing, incoming
        self.sent = self.received = 0
        """Messages begun in either direction, which whoever uses the wire counts."""
        self._in_turn: bool | None = None
        self._wake_bytes = 1
        self._have_left, self._asks = True, list[tuple[int, int, bytes]]()
        with suppress(OSError):  # a kernel that does not tell
            outgoing.setsockopt(socket.SOL_SOCKET, _TIMESTAMPING, _TELLS)
            self._asks.append((socket.SOL_SOCKET, _TIMESTAMPING, _ASKS))

    @staticmethod
    def over(stream: socket.socket) -> Wire:
        """Both directions of a TCP connection, set for messages that others wait for."""
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = TlsWire if isinstance(stream, ssl.SSLSocket) else Wire
        return kind(stream, stream)

    def limit_unsent(self, in_turn: bool) -> None:
        """Let a send end with few bytes left in the kernel where others wait for its end, else with more."""
        if in_turn != self._in_turn:
            unsent_bytes = UNSENT_IN_TURN_BYTES if in_turn else UNSENT_BYTES
            with suppress(OSError):  # closed by another thread, as the next transfer says
                self.outgoing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
            self._in_turn = in_turn

    def wake_at(self, size_bytes: int) -> None:
        """Let `select.poll` return once so much has come: fewer wake-ups where a link is slow."""
        if size_bytes != self._wake_bytes:
            with suppress(OSError):  # closed by another thread, as the next transfer says
                self.incoming.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)
            self._wake_bytes = size_bytes

    def send(self, *parts: memoryview, in_turn: bool = False) -> int:
        """Hand as many of these bytes to the kernel as it takes at once; returns how many.

        With `in_turn`, `have_left` tells when the last of them are on their way.

        Raises:
            WireClosedError: the other rank is gone.
        """
        asks = self._asks if in_turn else ()
        self._have_left = not asks
        try:
            return self.outgoing.sendmsg(parts, asks, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise WireClosedError(error.strerror) from error

    def have_left(self) -> bool:
        """Whether the bytes of the last send are out of the kernel, if it was in turn.

        `select.poll` returns POLLERR until this is asked.
        """
        with suppress(OSError):  # nothing more is told, or closed, as the next transfer says
            while self.outgoing.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT):
                self._have_left = True
        if not self._have_left:  # what is acknowledged has left, though nothing may have told it
            with suppress(OSError):
                self._have_left = not any(fcntl.ioctl(self.outgoing, termios.TIOCOUTQ, bytes(4)))
        return self._have_left

    def receive(self, *parts: memoryview) -> int:
        """Fill these bytes with what has come; returns how many.

        Raises:
            WireClosedError: the other rank is gone.
        """
        try:
            count = self.incoming.recvmsg_into(parts, 0, socket.MSG_DONTWAIT)[0]
        except BlockingIOError:
            return 0
        except OSError as error:
            raise WireClosedError(error.strerror) from error
        if not count:
            raise WireClosedError("closed by the other rank")
        return count

    def release(self) -> None:
        """Leave the sockets as they were, to whoever uses them next."""
        self.incoming.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self.outgoing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)

    def close(self) -> None:
        """End both directions."""
        self.outgoing.close()
        self.incoming.close()


class TlsWire(Wire):
    """A wire whose socket speaks TLS, which takes and gives one record of 16 kB at a time."""

    outgoing: ssl.SSLSocket
    incoming: ssl.SSLSocket

    def send(self, *parts: memoryview, in_turn: bool = False) -> int:
        """As of any wire; small parts share a record, and none tells when it leaves."""
        whole = parts if sum(map(len, parts)) > _RECORD_BYTES else (memoryview(b"".join(parts)),)
        return self._moved(self.outgoing.send, whole)

    def have_left(self) -> bool:
        """Not told here."""
        return True

    def wake_at(self, size_bytes: int) -> None:
        """Not so here: a part of what is waited for may have left the kernel."""

    def receive(self, *parts: memoryview) -> int:
        """As of any wire."""
        return self._moved(self.incoming.recv_into, parts)

    def _moved(self, move: Callable[[memoryview], int], parts: Iterable[memoryview]) -> int:
        """What passes of these bytes, record by record, before the socket would have to wait."""
        moved = 0
        try:
            for part in parts:
                left = part
                while left:
                    if not (count := move(left)):
                        raise WireClosedError("closed by the other rank")
                    moved, left = moved + count, left[count:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            if not moved:
                raise WireClosedError(error.strerror or str(error)) from error
        return moved
