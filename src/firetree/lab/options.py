"""What `firetree lab` is asked for, and the network that this means."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from firetree.errors import UserError
from firetree.lab.description import describe, load_description
from firetree.lab.lab import CONGESTION_CONTROL
from firetree.network import Network


@dataclass(frozen=True)
class LabOptions:
    """Run a command once a host on an emulated cluster: `firetree lab --hosts 4 -- COMMAND`.

    Hosts are network namespaces of this Linux machine, joined by links of the rates you name; root,
    `ip` and `tc` are needed. Each host's command gets torchrun's environment variables.
    """

    hosts: int = 4
    """Number of hosts."""
    rate: str = "200mbit"
    """Rate of every host's link, each direction, of payload."""
    slow: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A host with another rate, as in 3=50mbit, or 3=50mbit:200mbit for one up and one down; can be
    given several times."""
    rack: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """The hosts of a rack, as in 0-3 or 0,2,4,6; once a rack."""
    uplink: str | None = None
    """Rate of each rack's uplink."""
    network: str | None = None
    """All of these at once: '3 x 200mbit + 1 x 50mbit:200mbit', '4 x 1gbit | 4 x 1gbit / 1gbit' for
    two racks and their uplinks, perhaps a latency behind a comma, or a network's JSON file."""
    latency_ms: float = 0.0
    """Delay of every packet, where the kernel has netem."""
    tcp: str = CONGESTION_CONTROL
    """The hosts' congestion control; reno holds a shaped link's rate most steadily."""
    fault: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What happens after how many seconds, as in '2 link down 3', '5 rate 3 50mbit' or '9 kill 0';
    also link up, pause and resume. Can be given several times."""
    check: bool = False
    """Measure every link's rate with plain sockets; fails where one is off by over 3 %."""
    clean: bool = False
    """Take down what labs that were killed have left behind."""


def network_of(options: LabOptions) -> tuple[Network, float]:
    """The network to emulate and its latency in seconds, from one text or from an option for each."""
    latency_s = options.latency_ms / 1e3
    if options.network is None:
        described = options.hosts, options.rate, options.slow, options.rack, options.uplink
        return describe(*described), latency_s
    for name in ("hosts", "rate", "slow", "rack", "uplink"):
        if getattr(options, name) != getattr(LabOptions, name):
            raise UserError(f"--network and --{name}; expected one of them")
    network, own_latency_s = load_description(options.network)
    if own_latency_s and latency_s:
        raise UserError("--network with a latency and --latency-ms; expected one of them")
    return network, own_latency_s or latency_s
