"""The hosts' ends of a lab whose switch is a process: TAP devices, and the process `relay`.

A device goes with the last process that has its descriptor, which is the relay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, cast

from firetree.errors import RunFailedError, UserError
from firetree.lab import namespaces
from firetree.network import Network, to_json
from firetree.processes import ending_with_us

_DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_TAP_WITHOUT_INFO_WITH_VIRTIO = 0x0002 | 0x1000 | 0x4000
_CHECKSUMS_AND_TCP = 0x01 | 0x02


class PacketRelay:
    """The process that carries all frames of a network between these namespaces of hosts.

    It ends when the thread that started it does, or this process.

    Raises:
        UserError: this kernel has no TAP devices.
        RunFailedError: the process could not start.
    """

    def __init__(self, network: Network, hosts: Sequence[str]) -> None:
        with contextlib.ExitStack() as opened:
            taps = [namespaces.inside(host, _tap) for host in hosts]
            for tap in taps:
                opened.callback(os.close, tap)
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "firetree.lab.relay", to_json(network)),
                    *map(str, taps),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=taps,
                preexec_fn=ending_with_us(signal.SIGKILL),
                start_new_session=True,
                text=True,
                bufsize=1,
            )
        if not cast(IO[str], self.process.stdout).readline():
            self.process.wait()
            raise RunFailedError("the process that carries the lab's packets could not start")

    def limit(self, host: int, rate_bytes_s: float) -> None:
        """Give the host's link another rate towards it."""
        self._tell(f"rate {host} {rate_bytes_s!r}")

    def cut(self, host: int) -> None:
        """Carry nothing from and to the host any more."""
        self._tell(f"cut {host}")

    def join(self, host: int) -> None:
        """Carry the host's frames again."""
        self._tell(f"join {host}")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            cast(IO[str], self.process.stdin).write(f"{line}\n")


def _tap() -> int:
    """Make `eth0` in this thread's namespace, whose frames may hold many packets of TCP over IPv4."""
    try:
        tap = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"the lab needs TAP devices for latency, jitter, loss and a medium; {_DEVICE} cannot be opened: {error.strerror}"
        ) from error
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _TAP_WITHOUT_INFO_WITH_VIRTIO))
    fcntl.ioctl(tap, _TUNSETOFFLOAD, _CHECKSUMS_AND_TCP)
    return tap
