"""The commands that make a network out of namespaces, bridges and shaped links; nothing runs here.

The switch namespace has a bridge a rack and, between racks, one called `core`. Host h's port there
is `h3`; rack k's uplink is `up1` on the rack's bridge and `core1` on the core. A link's rate is
limited where packets enter it, so each end carries the limit of one direction.

Where packets are delayed or lost, a process (`relay`) is the switch, and all links but the hosts' own
way out. Hosts are then known by their Ethernet addresses.
"""

from __future__ import annotations

from collections.abc import Iterator

from firetree.network import Network

MOST_HOSTS = 250
"""The addresses are 10.77.0.1 to 10.77.0.250."""

WIRE_BYTES_PER_PAYLOAD = 1514 / 1448
"""The bytes of a full packet over its payload: htb counts the headers of Ethernet, IP and TCP (with
timestamps), but a Network's rates are of payload."""

_FULL_PACKET_BYTES = 1_514
_PACKET_S, _LEAST_PACKET_BYTES, _LARGEST_PACKET_BYTES = 0.0005, 2 * _FULL_PACKET_BYTES, 65_536
"""The size of a segmentation-offload packet, which passes a limit as one burst. Longer bursts would
distort a gradient's time; shorter ones cost CPU."""

_BURST_S = 0.0001
"""The further burst of the token bucket, in seconds of the rate: it covers the delay of htb's timer."""

_QUEUES = 16
"""Queues that a link serves in turn; the last bits of a peer's address choose its queue."""

_SENDER_AT, _RECEIVER_AT = 15, 19
"""Offsets of the last byte of the sender's and the receiver's address in an IP packet."""

_ACKNOWLEDGEMENTS, _FIRST_QUEUE = 0x10, 0x100  # classes


def address(host: int) -> str:
    """The host's IPv4 address."""
    return f"10.77.0.{host + 1}"


def ethernet_address(host: int) -> str:
    """The host's Ethernet address."""
    return f"02:00:00:00:00:{host:02x}"


def host_of(ethernet: bytes) -> int:
    """The host with this Ethernet address, if it is one of a lab."""
    return ethernet[5]


def places(network: Network, prefix: str) -> Iterator[str]:
    """`ip` commands that make all namespaces."""
    yield f"netns add {prefix}-sw"
    for host in range(network.size):
        yield f"netns add {prefix}-h{host}"


def links(network: Network, prefix: str) -> Iterator[str]:
    """`ip` commands that make the veth pairs between the namespaces."""
    for host in range(network.size):
        yield (
            f"link add name h{host} netns {prefix}-sw type veth"
            f" peer name eth0 netns {prefix}-h{host}"
        )


def switch(network: Network) -> Iterator[str]:
    """`ip` commands inside the switch namespace."""
    racks = [rack.hosts for rack in network.racks] or [tuple(range(network.size))]
    bridges = [f"rack{rack}" for rack in range(len(racks))] + (["core"] if network.racks else [])
    for bridge in bridges:
        yield f"link add {bridge} type bridge mcast_snooping 0"
        yield f"link set {bridge} up"
    for rack, hosts in enumerate(racks):
        for host in hosts:
            yield f"link set h{host} master rack{rack} up"
    for rack in range(len(network.racks)):
        yield f"link add up{rack} type veth peer name core{rack}"
        yield f"link set up{rack} master rack{rack} up"
        yield f"link set core{rack} master core up"


def host_interface(host: int, rate_bytes_s: float) -> Iterator[str]:
    """`ip` commands inside a host's namespace; without a default route nothing leaves the lab."""
    yield "link set lo up"
    yield (
        f"link set eth0 address {ethernet_address(host)} gso_max_size {_packet_bytes(rate_bytes_s)} up"
    )
    yield f"address add {address(host)}/24 dev eth0"


def switch_limits(network: Network) -> Iterator[str]:
    """`tc` commands inside the switch namespace: to each host, and both ways of each uplink."""
    for number, host in enumerate(network.hosts):
        yield from limit(f"h{number}", host.down_bytes_s, _SENDER_AT)
    for number, rack in enumerate(network.racks):
        yield from limit(f"up{number}", rack.out_bytes_s, _SENDER_AT)
        yield from limit(f"core{number}", rack.in_bytes_s, _SENDER_AT)


def host_limit(rate_bytes_s: float) -> Iterator[str]:
    """`tc` commands inside a host's namespace: what it sends."""
    return limit("eth0", rate_bytes_s, _RECEIVER_AT)


def limit(device: str, rate_bytes_s: float, address_at: int) -> Iterator[str]:
    """`tc` commands that limit the traffic leaving through a device.

    As with fq_codel, Linux's usual queue, peers are served in turn, and each has its own queue. Packets
    of one connection keep their order, as TCP takes reordering for loss. Acknowledgements go first.
    """
    yield f"qdisc add dev {device} root handle 1: htb default {_FIRST_QUEUE:x}"
    yield from _classes("add", device, rate_bytes_s)
    filters = f"filter add dev {device} parent 1: protocol ip"
    yield f"{filters} prio 1 u32 match u16 52 0xffff at 2 flowid 1:{_ACKNOWLEDGEMENTS:x}"
    for queue in range(_QUEUES):
        match = f"match u8 {queue} {_QUEUES - 1:#x} at {address_at}"
        yield f"{filters} prio 2 u32 {match} flowid 1:{_FIRST_QUEUE + queue:x}"


def change_limit(device: str, rate_bytes_s: float) -> Iterator[str]:
    """`tc` commands that change the rate of a limited device."""
    return _classes("change", device, rate_bytes_s)


def _classes(verb: str, device: str, rate_bytes_s: float) -> Iterator[str]:
    """The link's class, and its queues' classes, each of which may use the whole rate."""
    wire_bytes_s = rate_bytes_s * WIRE_BYTES_PER_PAYLOAD
    burst_bytes = max(_FULL_PACKET_BYTES, round(wire_bytes_s * _BURST_S))
    for parent, leaf, share in (
        ("1:", 1, 1.0),
        *(("1:1", leaf, 1 / (_QUEUES + 1)) for leaf in _leaves()),
    ):
        yield (
            f"class {verb} dev {device} parent {parent} classid 1:{leaf:x} htb"
            f" rate {round(share * wire_bytes_s * 8)}bit ceil {round(wire_bytes_s * 8)}bit"
            f" burst {burst_bytes} cburst {burst_bytes} quantum {_packet_bytes(wire_bytes_s)}"
            f" prio {int(leaf != _ACKNOWLEDGEMENTS)}"
        )


def _leaves() -> list[int]:
    return [_ACKNOWLEDGEMENTS, *range(_FIRST_QUEUE, _FIRST_QUEUE + _QUEUES)]


def _packet_bytes(rate_bytes_s: float) -> int:
    wanted = max(_LEAST_PACKET_BYTES, round(rate_bytes_s * _PACKET_S))
    return min(_LARGEST_PACKET_BYTES, wanted)
