"""Bytes that this process has sent over TCP, as the kernel counts them.

The backend's own all-reduce counts no bytes in the process. The kernel's count is also an independent
check of the executor's.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from firetree.wires.tcp_info import read_tcp_info


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
            info = read_tcp_info(connection)
    except OSError:
        return 0  # closed in the meantime
    return (info and info.sent_bytes) or 0
