"""A host's data connections, and what flows over them: timed streams, and single bytes with their echoes.

Every ordered pair of hosts has one TCP connection, on which the first host sends. Sent bytes are counted,
so that the receiver knows how many must still arrive before the next measurement.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firetree.peers.reach import listen_at
from firetree.probing.greeting import greeted
from firetree.probing.messages import ring_message_s

_HEADER = struct.Struct("!16sI")
_SO_SNDBUFFORCE = 32
_BUFFER_BYTES = 1 << 20
_CONNECT_S = 1.0
_WANTED_FILES = 4096
_SETTLING = 0.3
"""The first part of a span, in which TCP finds its rate and bursts pass."""
_ENDED_EARLY = 0.15
"""When nothing arrives for this part of a span, everything has been sent."""
_FEW_ARRIVALS = 5


@dataclass(slots=True)
class Connection:
    """One data connection and how many bytes have passed it so far."""

    socket: socket.socket
    passed_bytes: int = 0


@dataclass(slots=True)
class Streams:
    """The connections of host `rank`; only those that know `token` may connect."""

    rank: int
    token: bytes
    address: str
    sending: dict[int, Connection] = field(default_factory=dict)
    receiving: dict[int, Connection] = field(default_factory=dict)
    port: int = 0
    _listener: socket.socket = field(default_factory=socket.socket)

    def listen(self, at: str) -> None:
        """Accept connections at an address from now on, in a thread."""
        _allow_many_files()
        self._listener = listen_at(at)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="firetree-probe", daemon=True).start()

    def close(self) -> None:
        """Close everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for connection in (*self.sending.values(), *self.receiving.values()):
            connection.socket.close()

    def connect(self, peers: Mapping[int, tuple[str, int]], limit_s: float) -> None:
        """Connect to each peer (address and port) that can be reached; the others are left out."""
        end_s = time.monotonic() + limit_s
        for peer, where in peers.items():
            left_s = min(_CONNECT_S, end_s - time.monotonic())
            if left_s <= 0:
                break
            with contextlib.suppress(OSError):
                stream = socket.create_connection(where, left_s)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream.sendall(_HEADER.pack(self.token, self.rank))
                self.sending[peer] = Connection(stream)
        for peer, connection in [*self.sending.items()]:
            try:
                _receive_exactly(connection.socket, memoryview(bytearray(1)), end_s)
            except OSError:
                self.sending.pop(peer).socket.close()

    def _accept(self) -> None:
        for stream, header in greeted(self._listener, _HEADER.size):
            if len(header) == _HEADER.size and header[: len(self.token)] == self.token:
                with contextlib.suppress(OSError):
                    stream.setblocking(True)
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.receiving[_HEADER.unpack(header)[1]] = Connection(stream)
                    stream.sendall(b"\1")
            else:
                stream.close()

    def stream(
        self,
        to: Mapping[int, int],
        take_from: Sequence[int],
        span_s: float,
        most_bytes: int,
        add_up: bool,
    ) -> tuple[dict[int, int], dict[int, float]]:
        """Send to and take from peers for `span_s`, at most `most_bytes` in all to them.

        `to` gives for each peer how many bytes may be under way at once.

        Returns:
            How many bytes this host has ever sent to each peer, and the rate (bytes a second) at which
            each sender's stream arrived. With `add_up`, rates of several streams may be added.
        """
        arrivals: dict[int, list[tuple[float, int]]] = {peer: [] for peer in take_from}
        senders = {peer: self.sending[peer] for peer in to if peer in self.sending}
        receivers = {peer: self.receiving[peer] for peer in take_from if peer in self.receiving}
        for peer, sender in senders.items():
            _limit_under_way(sender.socket, to[peer])
        with selectors.DefaultSelector() as ready:
            for sender in senders.values():
                sender.socket.setblocking(False)
                ready.register(sender.socket, selectors.EVENT_WRITE, (sender, None))
            for peer, receiver in receivers.items():
                receiver.socket.setblocking(False)
                ready.register(receiver.socket, selectors.EVENT_READ, (receiver, arrivals[peer]))
            start_s = time.monotonic()
            _pump(ready, start_s + span_s, most_bytes)
        sent = {peer: sender.passed_bytes for peer, sender in senders.items()}
        return sent, _rates(arrivals, start_s, span_s, add_up)

    def drain(self, totals: Mapping[int, int], limit_s: float) -> None:
        """Receive from each peer until all bytes that it ever sent are here; drop peers that stop."""
        end_s, buffer = time.monotonic() + limit_s, memoryview(bytearray(_BUFFER_BYTES))
        for peer, total_bytes in totals.items():
            connection = self.receiving.get(peer)
            if connection is None:
                continue
            try:
                while (left_bytes := total_bytes - connection.passed_bytes) > 0:
                    part = buffer[: min(left_bytes, _BUFFER_BYTES)]
                    connection.passed_bytes += _receive_some(connection.socket, part, end_s)
            except OSError:
                self.receiving.pop(peer).socket.close()

    def ping(self, peer: int, count: int, limit_s: float) -> list[float]:
        """Seconds from sending each byte to its echo; fewer where the peer stops."""
        times_s: list[float] = []
        end_s, echo = time.monotonic() + limit_s, memoryview(bytearray(1))
        connection = self.sending.get(peer)
        if connection is None:
            return []
        try:
            for _ in range(count):
                start_s = time.perf_counter()
                connection.socket.settimeout(max(0.001, end_s - time.monotonic()))
                connection.socket.sendall(b"\1")
                connection.passed_bytes += 1
                _receive_exactly(connection.socket, echo, end_s)
                times_s.append(time.perf_counter() - start_s)
        except OSError:
            self.sending.pop(peer).socket.close()  # a late echo would pass for that of another ping
        return times_s

    def echo(self, peer: int, count: int, limit_s: float) -> None:
        """Answer each of the peer's bytes with one."""
        end_s, byte = time.monotonic() + limit_s, memoryview(bytearray(1))
        with contextlib.suppress(OSError, KeyError):
            connection = self.receiving[peer]
            for _ in range(count):
                _receive_exactly(connection.socket, byte, end_s)
                connection.passed_bytes += 1
                connection.socket.sendall(b"\1")

    def message_s(self, to: int, take_from: int, count: int, limit_s: float) -> float | None:
        """CPU seconds for an end of a message around a ring; None where a neighbour is missing."""
        if to not in self.sending or take_from not in self.receiving:
            return None
        outgoing, incoming = self.sending[to].socket, self.receiving[take_from].socket
        return ring_message_s(outgoing, incoming, count, limit_s)


def _pump(ready: selectors.BaseSelector, end_s: float, most_bytes: int) -> None:
    data, buffer = memoryview(bytes(_BUFFER_BYTES)), bytearray(_BUFFER_BYTES)
    sending = True
    while ready.get_map() and (left_s := end_s - time.monotonic()) > 0:
        for key, _ in ready.select(left_s):
            connection, arrivals = key.data
            try:
                if arrivals is None:
                    passed_bytes = connection.socket.send(data[: max(1, most_bytes)])
                    most_bytes -= passed_bytes
                else:
                    passed_bytes = connection.socket.recv_into(buffer)
                    arrivals.append((time.monotonic(), passed_bytes))
            except BlockingIOError:
                continue
            except OSError:
                passed_bytes = 0
            connection.passed_bytes += passed_bytes
            if passed_bytes == 0:  # the peer is gone
                ready.unregister(connection.socket)
        if sending and most_bytes <= 0:
            sending = False
            for key in [*ready.get_map().values()]:
                if key.data[1] is None:
                    ready.unregister(key.fileobj)


def _rates(
    arrivals: Mapping[int, Sequence[tuple[float, int]]],
    start_s: float,
    span_s: float,
    add_up: bool,
) -> dict[int, float]:
    """The rate of each stream after `_SETTLING`.

    Streams that share a link take turns on it, so their rates add up only over the same window. A single
    stream arrives in lumps, so it is measured from one arrival to another.
    """
    end_s = start_s + span_s
    last_s = max((each[-1][0] for each in arrivals.values() if each), default=end_s)
    if last_s < end_s - _ENDED_EARLY * span_s:
        end_s = last_s
    window_s = start_s + _SETTLING * (end_s - start_s), end_s
    rate = _rate if add_up else _rate_of_one
    return {peer: rate(arrived, *window_s) for peer, arrived in arrivals.items()}


def _rate(arrivals: Sequence[tuple[float, int]], start_s: float, end_s: float) -> float:
    counted_bytes = sum(size_bytes for at_s, size_bytes in arrivals if start_s < at_s <= end_s)
    return counted_bytes / (end_s - start_s) if end_s > start_s else 0.0


def _rate_of_one(arrivals: Sequence[tuple[float, int]], start_s: float, end_s: float) -> float:
    """The rate from the window's first arrival to its last, unless the stream paused at an edge."""
    inside = [at_s for at_s, _ in arrivals if start_s < at_s <= end_s]
    if len(inside) < _FEW_ARRIVALS:
        return _rate(arrivals, start_s, end_s)
    pause_s = max(later - earlier for earlier, later in itertools.pairwise(inside))
    first_s = inside[0] if inside[0] - start_s <= pause_s else start_s
    last_s = inside[-1] if end_s - inside[-1] <= pause_s else end_s
    return _rate(arrivals, first_s, last_s)


def _limit_under_way(stream: socket.socket, size_bytes: int) -> None:
    """Limit the bytes that wait in the kernel and in the network's queues to about so many."""
    try:
        stream.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size_bytes)
    except OSError:  # no privilege: a size above the system's limit would be cut to it, for good
        if size_bytes <= _most_settable_bytes():
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size_bytes)


def _most_settable_bytes() -> int:
    try:
        return int(Path("/proc/sys/net/core/wmem_max").read_text())
    except (OSError, ValueError):
        return 1 << 17


def _receive_exactly(stream: socket.socket, into: memoryview, end_s: float) -> None:
    while into:
        into = into[_receive_some(stream, into, end_s) :]


def _receive_some(stream: socket.socket, into: memoryview, end_s: float) -> int:
    stream.settimeout(max(0.001, end_s - time.monotonic()))
    arrived_bytes = stream.recv_into(into)
    if arrived_bytes == 0:
        raise ConnectionError("the peer closed the connection")
    return arrived_bytes


def _allow_many_files() -> None:
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if most == resource.RLIM_INFINITY else min(most, _WANTED_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
