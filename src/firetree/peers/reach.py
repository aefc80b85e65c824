"""This host's name, the address by which others reach it, and its network interfaces (Linux)."""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

_SIOCGIFCONF = 0x8912
_ENTRY_BYTES, _MOST_ADDRESSES = 40, 256
_LINK_SCOPE = "20"
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_ANY_PORT = 9
_INTERFACES = Path("/sys/class/net")
_BACKLOG = 1024


def host_name() -> str:
    """This host's name in messages: FIRETREE_HOST in the environment, or its own name."""
    return os.environ.get("FIRETREE_HOST") or socket.gethostname()


def own_network() -> str:
    """The same text for processes that reach each other without a network: one host's, one container's."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {namespace}"


def first_guess() -> str:
    """This host's own guess of its address: of Gloo's interface, or of the route to rank 0."""
    route = own_address_towards(os.environ.get("MASTER_ADDR", ""))
    return _of_named_interface() or route or "127.0.0.1"


def known_address() -> str | None:
    """This host's address for the others; None where only they can tell.

    On rank 0's host the name in MASTER_ADDR may resolve to a loopback address, which says nothing.
    """
    rank_0 = os.environ.get("MASTER_ADDR", "")
    route = own_address_towards(rank_0)
    if route and is_loopback(route) and rank_0 not in ("localhost", route):
        route = None
    return _of_named_interface() or route


def _of_named_interface() -> str | None:
    named = os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]
    return next((address for address, name in own_addresses().items() if name == named), None)


def listen_at(address: str, port: int = 0) -> socket.socket:
    """A socket that listens at one of this host's addresses, or at all of them if it is empty.

    Raises:
        OSError: the host does not have the address, or the port is in use.
    """
    if not address and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


def own_address_towards(host: str) -> str | None:
    """The source address of packets to a host; nothing is sent."""
    if not host:
        return None
    with contextlib.suppress(OSError):
        family, kind, *_, address = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as packets:
            packets.connect(address)
            return str(packets.getsockname()[0])
    return None


def address_for_all(gather: Callable[[str], list[str]]) -> str:
    """This host's address for the ranks that `gather` tells a value, which call this together."""
    guess = first_guess()
    return among(gather(guess), guess)


def among(addresses: Sequence[str], own: str) -> str:
    """This host's address for the hosts at `addresses`.

    Where `own` is a loopback address, as on rank 0, it is the source address towards one of them.
    """
    if not is_loopback(own):
        return own
    away = next((address for address in addresses if not is_loopback(address)), None)
    return (own_address_towards(away) if away else None) or own


def is_loopback(address: str) -> bool:
    """Whether it is a loopback address, which no other host can use."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def interface_of(address: str) -> str | None:
    """The interface that has the address, if any."""
    return own_addresses().get(address)


def own_addresses() -> dict[str, str]:
    """This host's addresses that are up, with their interfaces: IPv4 first, no link-local ones."""
    entries = array.array("B", bytes(_ENTRY_BYTES * _MOST_ADDRESSES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("iL", len(entries), entries.buffer_info()[0])
        used_bytes = struct.unpack("iL", fcntl.ioctl(asked.fileno(), _SIOCGIFCONF, request))[0]
    found = {}
    for at in range(0, used_bytes, _ENTRY_BYTES):
        name = bytes(entries[at : at + 16]).partition(b"\0")[0].decode()
        address = socket.inet_ntoa(entries[at + 20 : at + 24])
        found[address] = name.partition(":")[0]  # an alias has a label behind the name
    with contextlib.suppress(OSError):  # without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if scope != _LINK_SCOPE:
                found[socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))] = name
    return found


def is_wireless(interface: str) -> bool:
    """Whether the interface is one of Wi-Fi."""
    return bool(interface) and (_INTERFACES / interface / "wireless").exists()


def has_carrier(interface: str | None) -> bool:
    """Whether the interface is up and has a carrier; True where that is unknown."""
    if interface is None:
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("40s", interface.encode()))
        except OSError:
            return True
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_RUNNING)
