"""The commands that make a network out of namespaces, bridges and shaped links; nothing runs here.

The switch namespace has a bridge a rack and, between racks, one called `core`. Host h's port there
is `h3`; rack k's uplink is `up1` on the rack's bridge and `core1` on the core. A link's rate is
limited where packets enter it, so each end carries the limit of one direction.
"""

from __future__ import annotations

from collections.abc import Iterator

from firetree.network import Network

MOST_HOSTS = 250
"""As many as the addresses 10.77.0.1 to 10.77.0.250."""

_WIRE_BYTES_PER_PAYLOAD = 1514 / 1448
"""A full packet over what TCP puts into it: htb counts the headers of Ethernet, IP and TCP (with
timestamps), and a Network's rates are of payload."""

_LARGEST_PACKET_BYTES = 65_536
_LEAST_BURST_BYTES = 6_144
_BURST_S = 0.0005
"""What may pass at once: enough to bridge the time until htb's timer fires at high rates, and too
little to be seen beside the time that a gradient takes."""

_QUANTUM_BYTES = 60_000
"""Without siblings it changes nothing; given, so that the kernel does not warn about a derived one."""


_BULK, _SMALL = 10, 20  # classes


def address(host: int) -> str:
    """The host's IPv4 address."""
    return f"10.77.0.{host + 1}"


def links(network: Network, prefix: str) -> Iterator[str]:
    """`ip` commands that make all namespaces and the veth pairs between them."""
    yield f"netns add {prefix}-sw"
    for host in range(network.size):
        yield f"netns add {prefix}-h{host}"
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
    """`ip` commands inside a host's namespace; without a default route nothing leaves the lab.

    What TCP hands over as one packet passes a limit at once, and would be a burst on slow links.
    """
    packet_bytes = min(_LARGEST_PACKET_BYTES, max(_LEAST_BURST_BYTES, rate_bytes_s * _BURST_S))
    yield "link set lo up"
    yield f"link set eth0 gso_max_size {round(packet_bytes)} up"
    yield f"address add {address(host)}/24 dev eth0"


def switch_limits(network: Network) -> Iterator[str]:
    """`tc` commands inside the switch namespace: to each host, and both ways of each uplink."""
    for number, host in enumerate(network.hosts):
        yield from limit(f"h{number}", host.down_bytes_s)
    for number, rack in enumerate(network.racks):
        yield from limit(f"up{number}", rack.out_bytes_s)
        yield from limit(f"core{number}", rack.in_bytes_s)


def limit(device: str, rate_bytes_s: float, latency_s: float = 0.0) -> Iterator[str]:
    """`tc` commands that limit what leaves through a device, and delay it.

    Small packets leave first, as they do on hosts with fq_codel, the usual queue of Linux: otherwise
    acknowledgements would wait behind all that a host has to send.
    """
    yield f"qdisc add dev {device} root handle 1: htb default {_BULK}"
    yield from _classes("add", device, rate_bytes_s)
    yield (
        f"filter add dev {device} parent 1: protocol ip prio 1"
        f" u32 match u16 0x0000 0xff00 at 2 flowid 1:{_SMALL}"  # an IP packet below 256 bytes
    )
    if latency_s:
        for handle, minor in ((2, _BULK), (3, _SMALL)):
            # Its default of 1000 packets would drop on a fast link.
            yield (
                f"qdisc add dev {device} parent 1:{minor} handle {handle}: netem"
                f" delay {latency_s * 1e6:.0f}us limit 100000"
            )


def change_limit(device: str, rate_bytes_s: float) -> Iterator[str]:
    """The `tc` commands that give another rate to a device that has a limit."""
    return _classes("change", device, rate_bytes_s)


def _classes(verb: str, device: str, rate_bytes_s: float) -> Iterator[str]:
    """The link, which both kinds of packets may fill, and the part of it that is each one's own."""
    wire_bytes_s = rate_bytes_s * _WIRE_BYTES_PER_PAYLOAD
    burst_bytes = max(_LEAST_BURST_BYTES, round(wire_bytes_s * _BURST_S))
    for parent, classid, part, order in (
        ("1:", "1:1", 1.0, 0),
        ("1:1", f"1:{_BULK}", 0.9, 1),
        ("1:1", f"1:{_SMALL}", 0.1, 0),
    ):
        yield (
            f"class {verb} dev {device} parent {parent} classid {classid} htb"
            f" rate {round(part * wire_bytes_s * 8)}bit ceil {round(wire_bytes_s * 8)}bit"
            f" burst {burst_bytes} cburst {burst_bytes} quantum {_QUANTUM_BYTES} prio {order}"
        )
