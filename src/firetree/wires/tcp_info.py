"""What the kernel says about a TCP connection: Linux's `struct tcp_info` as a value.

It names a slow link and the reason: the network, the other rank's window, or too small a buffer here.
"""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import dataclass, replace
from typing import Any

from firetree.documents import Count, Seconds

_MOST_BYTES = 1 << 9
"""More than the struct has; the kernel returns as much as it knows."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """A connection as its kernel sees it; None is what this kernel does not say.

    Counters begin with the connection, or at an earlier value (see `since`):
    - `acked_bytes` have arrived; `sent_bytes` has what was sent twice, too.
    - `retransmitted_bytes` were sent again, in `retransmissions` segments.
    - `received_bytes` have come.
    - `busy_s`: something was on its way or waited. For `rwnd_limited_s` of it the other rank's window
      was full, for `sndbuf_limited_s` the send buffer was.

    As of now:
    - `rtt_s` and `rttvar_s` are the smoothed round trip and its mean deviation, `min_rtt_s` the
      shortest of the last minutes.
    - `delivery_bytes_s` is the newest measured rate; where `app_limited`, the link may be faster.
    - `cwnd_segments` of `mss_bytes` each may be on their way.
    """

    acked_bytes: Count | None = None
    sent_bytes: Count | None = None
    retransmitted_bytes: Count | None = None
    retransmissions: Count | None = None
    received_bytes: Count | None = None
    busy_s: Seconds | None = None
    rwnd_limited_s: Seconds | None = None
    sndbuf_limited_s: Seconds | None = None
    rtt_s: Seconds | None = None
    rttvar_s: Seconds | None = None
    min_rtt_s: Seconds | None = None
    delivery_bytes_s: Count | None = None
    cwnd_segments: Count | None = None
    mss_bytes: Count | None = None
    app_limited: bool | None = None

    def since(self, earlier: TcpInfo) -> TcpInfo:
        """This state, with counters that begin at `earlier`."""
        added: dict[str, Any] = {
            name: _added(getattr(earlier, name), getattr(self, name)) for name in _COUNTERS
        }
        return replace(self, **added)


_COUNTERS = (
    *("acked_bytes", "sent_bytes", "retransmitted_bytes", "retransmissions", "received_bytes"),
    *("busy_s", "rwnd_limited_s", "sndbuf_limited_s"),
)

_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_MICROSECONDS = {
    "rtt_s": (_U32, 68),
    "rttvar_s": (_U32, 72),
    "min_rtt_s": (_U32, 148),
    "busy_s": (_U64, 168),
    "rwnd_limited_s": (_U64, 176),
    "sndbuf_limited_s": (_U64, 184),
}
"""Fields by their kind and offset in the struct."""

_NUMBERS = {
    "mss_bytes": (_U32, 16),
    "cwnd_segments": (_U32, 80),
    "retransmissions": (_U32, 100),
    "acked_bytes": (_U64, 120),
    "received_bytes": (_U64, 128),
    "delivery_bytes_s": (_U64, 160),
    "sent_bytes": (_U64, 200),
    "retransmitted_bytes": (_U64, 208),
}
_FLAGS_BYTE, _APP_LIMITED = 7, 1 if sys.byteorder == "little" else 1 << 7
_UNKNOWN = (1 << 32) - 1
"""The shortest round trip before the first."""


def _added(before: float | None, now: float | None) -> float | None:
    """What was added to a counter, of which the short ones begin anew after their largest value."""
    return None if before is None or now is None else round(max(now - before, 0), 6)


def parse_tcp_info(content: bytes) -> TcpInfo:
    """The value of a `struct tcp_info`, however much of it a kernel returns."""
    size_bytes = len(content)
    found: dict[str, Any] = {
        name: kind.unpack_from(content, offset)[0]
        for name, (kind, offset) in (_NUMBERS | _MICROSECONDS).items()
        if offset + kind.size <= size_bytes
    }
    if found.get("min_rtt_s") == _UNKNOWN:
        del found["min_rtt_s"]
    for name in _MICROSECONDS.keys() & found:
        found[name] /= 1_000_000
    if size_bytes > _FLAGS_BYTE:
        found["app_limited"] = bool(content[_FLAGS_BYTE] & _APP_LIMITED)
    return TcpInfo(**found)


def read_tcp_info(stream: socket.socket) -> TcpInfo | None:
    """What the kernel says of a connection now; None where it is closed, or is not TCP."""
    try:
        return parse_tcp_info(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MOST_BYTES))
    except OSError:
        return None
