"""`firetree lab`: run a command on every host of an emulated cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tyro

from firetree import lab, output
from firetree.commands import tables
from firetree.commands.arguments import parse, split_at
from firetree.errors import RunFailedError, UserError
from firetree.network import Network, format_rate
from firetree.network.network import uniform


@dataclass(frozen=True)
class LabOptions:
    """Run a command on every host of an emulated cluster: `firetree lab --hosts 4 -- COMMAND`.

    Hosts are network namespaces of this Linux machine, joined by links of the given rates. Needs root,
    `ip` and `tc`. Each host's command gets torchrun's environment variables.
    """

    hosts: int = 4
    """Number of hosts."""
    rate: str = "200mbit"
    """Payload rate of every host's link, in each direction."""
    slow: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A host with another rate, as in 3=50mbit, or 3=50mbit:200mbit for up and down. Repeatable."""
    rack: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """The hosts of a rack, as in 0-3 or 0,2,4,6. Repeat it for each rack."""
    uplink: str | None = None
    """Rate of each rack's uplink."""
    network: str | None = None
    """All of these in one text: '3 x 200mbit + 1 x 50mbit:200mbit', or '4 x 1gbit | 4 x 1gbit / 1gbit' for
    two racks and their uplinks, or '4 x 1gbit / 1gbit | 4 x 1gbit / 2gbit' for unequal ones. What all pairs
    have follows commas: '4 x 100mbit, 10ms, jitter 2ms, loss 0.1%', or '4 x 50mbit, medium 50mbit' where
    they share one hub or Wi-Fi. Or a network's JSON file."""
    latency_ms: float = 0.0
    """Delay of every packet on its way to another host, for links of up to 200 Mbit/s."""
    tcp: str = lab.CONGESTION_CONTROL
    """The hosts' congestion control; reno gives the steadiest rate on a shaped link."""
    cpu: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What all processes of a host together may use of this machine's CPU, as in 3=50%, half a core. By
    control groups where the kernel lets us, else by stopping and continuing them. Repeatable."""
    fault: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A fault after some seconds, as in '2 link down 3', '5 rate 3 50mbit', '7 cpu 3 50%' or '9 kill 0';
    also link up, pause and resume. Repeatable."""
    check: bool = False
    """Measure every link's rate with plain sockets; fail if one is off by over 3 %."""
    clean: bool = False
    """Remove what killed labs have left behind."""


def run(arguments: list[str]) -> None:
    """Run `firetree lab` with these arguments."""
    ours, _, command = split_at(arguments, "--")
    options = parse(LabOptions, "firetree lab", ours)
    if options.clean:
        removed = lab.clean()
        output.show("\n".join(f"removed {name}" for name in removed) or "nothing was left behind")
        return
    network = _network(options)
    faults = [lab.parse_fault(text, network.size) for text in options.fault]
    cpu_limits = lab.parse_cpu_limits(options.cpu, network.size)
    if options.check and (command or cpu_limits or faults):
        raise UserError("--check and a command, --cpu or --fault; expected --check alone")
    if options.check and lab.needs_relay(network):
        raise UserError(
            "--check and latency, jitter, loss or a medium; expected a network without them"
        )
    if not options.check:
        if not command:
            raise UserError("no command for the hosts; expected one after --")
        lab.require_command(command)
    with lab.Lab(network, options.tcp) as cluster:
        if network.latency_s and not cluster.network.latency_s:
            output.tell(
                "latency below 0.5 ms: that of this machine's own packets, with nothing added"
            )
        if options.check:
            checks = lab.check(cluster)
            output.show(as_text(checks))
            if any(check.within is False for check in checks):
                raise RunFailedError("a link's rate is off by over 3 %; is the machine busy?")
        else:
            if cpu_limits or any(fault.action == "cpu" for fault in faults):
                output.tell(f"CPU limits: by {lab.cpu_limits_by()}")
            for host, cores in cpu_limits.items():
                cluster.limit_cpu(host, cores)
            lab.run_command(cluster, command, faults)


def _network(options: LabOptions) -> Network:
    """The network to emulate, from --network or from the single options."""
    if options.network is not None:
        for name in ("hosts", "rate", "slow", "rack", "uplink", "latency_ms"):
            if getattr(options, name) != getattr(LabOptions, name):
                raise UserError(f"--network and --{name.replace('_', '-')}; expected one of them")
        return lab.load_description(options.network)
    described = options.hosts, options.rate, options.slow, options.rack, options.uplink
    network = lab.describe(*described)
    latency_s = options.latency_ms / 1e3
    return replace(network, latency_s=uniform(latency_s, network.size)) if latency_s else network


def as_text(checks: Sequence[lab.LinkCheck]) -> str:
    """A table of the links: the rate asked for, the rate measured, and the difference."""
    rows = []
    for link in checks:
        asked, measured, off = format_rate(link.asked_bytes_s), "-", link.reason
        if link.measured_bytes_s is not None:
            measured = format_rate(link.measured_bytes_s)
            off = f"{link.measured_bytes_s / link.asked_bytes_s - 1:+.1%}"
            off += "" if link.within else "  TOO FAR"
        rows.append((link.link, asked, measured, off))
    return tables.as_text(("link", "asked", "measured", "off by"), rows, left=("link", "off by"))
