"""`firetree lab`: a command on every host of an emulated cluster."""

from __future__ import annotations

from firetree import lab, output
from firetree.arguments import parse, split_at
from firetree.errors import RunFailedError, UserError


def run(arguments: list[str]) -> None:
    ours, _, command = split_at(arguments, "--")
    options = parse(lab.LabOptions, "firetree lab", ours)
    if options.clean:
        removed = lab.clean()
        output.show("\n".join(f"removed {name}" for name in removed) or "nothing was left behind")
        return
    network, latency_s = lab.network_of(options)
    faults = [lab.parse_fault(text, network.size) for text in options.fault]
    if not options.check:
        lab.require_command(command)
    elif command:
        raise UserError("--check and a command; expected one of them")
    with lab.Lab(network, latency_s, options.tcp) as cluster:
        if options.check:
            checks = lab.check(cluster)
            output.show(lab.render(checks))
            if any(check.within is False for check in checks):
                raise RunFailedError("a link's rate is off by over 3 %; is the machine busy?")
        else:
            lab.run_command(cluster, command, faults)
