"""Bytes that this process has sent over TCP, as the kernel counts them.

The backend's own all-reduce counts no bytes in the process. The kernel's count is also an independent
check of the executor's.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path

# struct tcp_info of Linux 4.19 and newer: tcpi_bytes_sent is the 64-bit field at this offset.
_BYTES_SENT_OFFSET = 200
_TCP_INFO_BYTES = 256


def tcp_sent_bytes() -> int:
    """Bytes sent on all TCP connections this process holds open; 0 where the kernel does not say."""
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return 0
    return sum(_sent_on(descriptor) for descriptor in descriptors)


def _sent_on(descriptor: int) -> int:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return 0
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0  # not TCP, or closed in the meantime
    if len(info) < _BYTES_SENT_OFFSET + 8:
        return 0
    return int(struct.unpack_from("=Q", info, _BYTES_SENT_OFFSET)[0])
