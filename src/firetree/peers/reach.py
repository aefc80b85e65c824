"""What this host is called, by which address others reach it, and whether it has a cable (Linux)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

_SIOCGIFADDR = 0x8915
_ANY_PORT = 9


def host_name() -> str:
    """What messages call this host: FIRETREE_HOST in the environment, or its own name."""
    return os.environ.get("FIRETREE_HOST") or socket.gethostname()


def first_guess() -> str:
    """This host's address as far as it can tell alone: Gloo's interface, or the way to rank 0."""
    named = os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]
    address = _address_of(named) if named else None
    return address or own_address_towards(os.environ.get("MASTER_ADDR", "")) or "127.0.0.1"


def own_address_towards(host: str) -> str | None:
    """The address that packets to a host leave from; nothing is sent."""
    with contextlib.suppress(OSError):
        family, kind, *_, address = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as packets:
            packets.connect(address)
            return str(packets.getsockname()[0])
    return None


def among(addresses: Sequence[str], own: str) -> str:
    """This host's address for those at `addresses`: the way to one of them where `own` is only local,
    as rank 0's way to itself is."""
    if not _is_local(own):
        return own
    away = next((address for address in addresses if not _is_local(address)), None)
    return (own_address_towards(away) if away else None) or own


def _is_local(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def interface_of(address: str) -> str | None:
    """The interface that has the address; None where none has, as for IPv6, which is not looked up."""
    names = (name for _, name in socket.if_nameindex())
    return next((name for name in names if _address_of(name) == address), None)


def has_carrier(interface: str | None) -> bool:
    """Whether the interface has a cable; True where nothing tells."""
    try:
        return Path(f"/sys/class/net/{interface}/carrier").read_text() != "0\n"
    except OSError:  # no such interface, or it is switched off
        return interface is None or not Path(f"/sys/class/net/{interface}").exists()


def _address_of(interface: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
