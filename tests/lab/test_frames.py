"""Frames that hold several TCP packets: what is cut out of them is what the wire would have had."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from firetree.lab.frames import ETHERNET_AT, packets_of, part

IP, TCP = ETHERNET_AT + 14, ETHERNET_AT + 34
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


def ones_sum(content: bytes) -> int:
    total = sum(word for (word,) in struct.iter_unpack("!H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def frame_of(payload: bytes, mss_bytes: int, sequence: int, options: bytes, identity: int) -> bytes:
    """As Linux hands it to a device that cuts frames itself: TCP's checksum is the pseudo header's sum."""
    headers = 20 + len(options)
    ends = socket.inet_aton("10.77.0.1") + socket.inet_aton("10.77.0.2")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + headers + len(payload), identity, 0x4000, 64, 6, 0)
    ip = ip[:10] + struct.pack("!H", 0xFFFF - ones_sum(ip + ends)) + ends
    pseudo = ones_sum(ends + struct.pack("!HH", 6, headers + len(payload)))
    flags = FIN | PSH | ACK | CWR
    tcp = struct.pack("!HHIIBBHHH", 1, 2, sequence, 7, headers << 2, flags, 99, pseudo, 0) + options
    virtio = struct.pack("=BBHHHH", 1, 1, 34 + headers, mss_bytes, 34, 16)
    return virtio + bytes(12) + b"\x08\0" + ip + tcp + payload


@given(
    st.binary(min_size=1, max_size=5000),
    st.integers(1, 1448),
    st.integers(0, 2**32 - 1),
    st.sampled_from([b"", bytes(12)]),
    st.integers(0, 2**16 - 1),
    st.data(),
)
def test_a_part_of_a_frame_is_its_packets(
    payload: bytes,
    mss_bytes: int,
    sequence: int,
    options: bytes,
    identity: int,
    data: st.DataObject,
) -> None:
    frame = frame_of(payload, mss_bytes, sequence, options, identity)
    count, wire_bytes = packets_of(frame)
    headers_bytes = 54 + len(options)
    assert count == -(-len(payload) // mss_bytes)
    assert wire_bytes == len(payload) + count * headers_bytes
    first = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(first + 1, count))
    cut = part(frame, first, end)
    start = ETHERNET_AT + headers_bytes
    kept = payload[first * mss_bytes : end * mss_bytes]
    assert cut[start:] == kept
    assert packets_of(cut) == (end - first, len(kept) + (end - first) * headers_bytes)
    assert ones_sum(cut[IP : IP + 20]) == 0xFFFF
    length, number = struct.unpack_from("!HH", cut, IP + 2)
    assert (length, number) == (20 + 20 + len(options) + len(kept), (identity + first) % 2**16)
    (seen,) = struct.unpack_from("!I", cut, TCP + 4)
    assert seen == (sequence + first * mss_bytes) % 2**32
    flags = ACK | (CWR if first == 0 else 0) | (FIN | PSH if end == count else 0)
    assert cut[TCP + 13] == flags
    pseudo = ones_sum(cut[IP + 12 : IP + 20] + struct.pack("!HH", 6, len(cut) - TCP))
    assert struct.unpack_from("!H", cut, TCP + 16)[0] % 0xFFFF == pseudo % 0xFFFF


def test_a_part_that_is_the_whole_frame_is_that_frame() -> None:
    frame = frame_of(bytes(3000), 1448, 5, bytes(12), 9)
    assert part(frame, 0, 3) == frame
