"""What this host is called, by which address others reach it, and whether it has a cable (Linux)."""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

_SIOCGIFCONF = 0x8912
_ENTRY_BYTES, _MOST_ADDRESSES = 40, 256
_LINK_SCOPE = "20"
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_ANY_PORT = 9
_BACKLOG = 1024


def host_name() -> str:
    """What messages call this host: FIRETREE_HOST in the environment, or its own name."""
    return os.environ.get("FIRETREE_HOST") or socket.gethostname()


def first_guess() -> str:
    """This host's address as far as it can tell alone: Gloo's interface, or the way to rank 0."""
    way = own_address_towards(os.environ.get("MASTER_ADDR", ""))
    return _of_named_interface() or way or "127.0.0.1"


def known_address() -> str | None:
    """This host's address for the others; None where only they can tell.

    So it is on rank 0's host, where the name in MASTER_ADDR may mean the host to itself alone.
    """
    rank_0 = os.environ.get("MASTER_ADDR", "")
    way = own_address_towards(rank_0)
    if way and is_loopback(way) and rank_0 not in ("localhost", way):
        way = None
    return _of_named_interface() or way


def _of_named_interface() -> str | None:
    named = os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]
    return next((address for address, name in own_addresses().items() if name == named), None)


def listening_at(address: str, port: int = 0) -> socket.socket:
    """A socket that listens at one of this host's addresses, or at all of them where that is empty.

    Raises:
        OSError: the address is none of this host's, or the port is in use.
    """
    if not address and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


def own_address_towards(host: str) -> str | None:
    """The address that packets to a host leave from; nothing is sent."""
    if not host:
        return None
    with contextlib.suppress(OSError):
        family, kind, *_, address = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as packets:
            packets.connect(address)
            return str(packets.getsockname()[0])
    return None


def among(addresses: Sequence[str], own: str) -> str:
    """This host's address for those at `addresses`: the way to one of them where `own` is only local,
    as rank 0's way to itself is."""
    if not is_loopback(own):
        return own
    away = next((address for address in addresses if not is_loopback(address)), None)
    return (own_address_towards(away) if away else None) or own


def is_loopback(address: str) -> bool:
    """Whether an address means this host to itself alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def interface_of(address: str) -> str | None:
    """The interface that has the address; None where none has."""
    return own_addresses().get(address)


def own_addresses() -> dict[str, str]:
    """The interface of each of this host's addresses that are up, IPv4 first; none of a link alone."""
    entries = array.array("B", bytes(_ENTRY_BYTES * _MOST_ADDRESSES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("iL", len(entries), entries.buffer_info()[0])
        used_bytes = struct.unpack("iL", fcntl.ioctl(asked.fileno(), _SIOCGIFCONF, request))[0]
    found = {}
    for at in range(0, used_bytes, _ENTRY_BYTES):
        name = bytes(entries[at : at + 16]).partition(b"\0")[0].decode()
        address = socket.inet_ntoa(entries[at + 20 : at + 24])
        found[address] = name.partition(":")[0]  # an address of its own has a label behind the name
    with contextlib.suppress(OSError):  # without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if scope != _LINK_SCOPE:
                found[socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))] = name
    return found


def has_carrier(interface: str | None) -> bool:
    """Whether the interface is up and has a cable; True where nothing tells."""
    if interface is None:
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("40s", interface.encode()))
        except OSError:
            return True
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_RUNNING)
