"""Frames as a TAP device of Linux gives them: virtio's header, then Ethernet.

A frame may hold many packets of one TCP connection, as network cards take them (segmentation offload);
virtio's header says how to cut it. Only IPv4 comes so.
"""

from __future__ import annotations

import struct

_VIRTIO = struct.Struct("=BBHHHH")
"""Flags, kind of offload, length of headers, payload of a packet, and where the checksum is."""

ETHERNET_AT = _VIRTIO.size
MOST_BYTES = ETHERNET_AT + 14 + 65_535

_IP_AT = ETHERNET_AT + 14
_WORD = struct.Struct("!H")
_LONG = struct.Struct("!I")
_FIRST_ONLY, _LAST_ONLY = 0x80, 0x09
"""TCP's flags that only the first packet of a frame has (CWR), and those of the last (FIN, PSH)."""


def packets_of(frame: bytes) -> tuple[int, int]:
    """How many packets the frame is on a wire, and all their bytes."""
    _, kind, _, mss_bytes, tcp, _ = _VIRTIO.unpack_from(frame)
    size_bytes = len(frame) - ETHERNET_AT
    if not kind:
        return 1, size_bytes
    headers_bytes = _headers_bytes(frame, tcp)
    count = -(-(size_bytes - headers_bytes) // mss_bytes)
    return count, size_bytes + (count - 1) * headers_bytes


def part(frame: bytes, first: int, end: int) -> bytes:
    """A frame with the packets `first` to `end` − 1 of one that holds several."""
    flags, kind, headers_bytes, mss_bytes, tcp, checksum = _VIRTIO.unpack_from(frame)
    count, _ = packets_of(frame)
    start = ETHERNET_AT + _headers_bytes(frame, tcp)
    payload = frame[start:][first * mss_bytes : end * mss_bytes]
    found = bytearray(frame[:start])
    several = end - first > 1
    offload = (kind, headers_bytes, mss_bytes) if several else (0, 0, 0)
    _VIRTIO.pack_into(found, 0, flags, *offload, tcp, checksum)
    tcp_at = ETHERNET_AT + tcp
    shorter_bytes = len(frame) - start - len(payload)
    # The checksum's field has the pseudo header's sum, in which the length is; TCP's own comes later.
    _add(found, tcp_at + checksum, -shorter_bytes)
    _LONG.pack_into(
        found, tcp_at + 4, (_LONG.unpack_from(found, tcp_at + 4)[0] + first * mss_bytes) % (1 << 32)
    )
    found[tcp_at + 13] &= ~(_FIRST_ONLY * (first > 0) | _LAST_ONLY * (end < count))
    length, identity = (_WORD.unpack_from(found, _IP_AT + at)[0] for at in (2, 4))
    _WORD.pack_into(found, _IP_AT + 2, length - shorter_bytes)
    _WORD.pack_into(found, _IP_AT + 4, (identity + first) % (1 << 16))
    _WORD.pack_into(found, _IP_AT + 10, 0)
    _WORD.pack_into(found, _IP_AT + 10, 0xFFFF - _sum(found[_IP_AT:tcp_at]))
    return bytes(found) + payload


def _headers_bytes(frame: bytes, tcp: int) -> int:
    """The bytes of the headers of Ethernet, IP and TCP."""
    return tcp + (frame[ETHERNET_AT + tcp + 12] >> 4) * 4


def _add(frame: bytearray, at: int, value: int) -> None:
    """Add to a field in ones' complement."""
    _WORD.pack_into(frame, at, (_WORD.unpack_from(frame, at)[0] + value) % 0xFFFF)


def _sum(header: bytearray) -> int:
    """The sum of a header's 16-bit words in ones' complement."""
    words: list[int] = [word for (word,) in _WORD.iter_unpack(header)]
    return sum(words) % 0xFFFF
