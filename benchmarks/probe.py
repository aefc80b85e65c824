"""Probe nine emulated networks, and compare what is found with what the lab was told.

A port that the others cannot fill, and an uplink that is faster than all its hosts, count with what
the rest of the way carries.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from firetree.network import Host, Network, Rack, format_rate, parse_network, to_json
from firetree.probing import Probe
from results import write_section

TITLE = "What a probe finds"
COMMAND = (sys.executable, "-m", "firetree")
MBIT = 1e6 / 8

NETWORKS: dict[str, Network] = {
    "4 equal": parse_network("4 x 200mbit"),
    "one slow": parse_network("3 x 200mbit + 1 x 50mbit"),
    "two slow": parse_network("4 x 200mbit + 1 x 100mbit + 1 x 50mbit"),
    "two racks": parse_network("4 x 200mbit | 4 x 200mbit / 300mbit"),
    "three uneven racks": Network(
        (Host(200 * MBIT, 200 * MBIT),) * 9,
        (
            Rack((0, 1, 2, 3), 150 * MBIT, 150 * MBIT),
            Rack((4, 5, 6), 150 * MBIT, 150 * MBIT),
            Rack((7, 8), 150 * MBIT, 150 * MBIT),
        ),
    ),
    "alternating ranks": Network(
        (Host(200 * MBIT, 200 * MBIT),) * 6,
        (
            Rack((0, 2, 4), 200 * MBIT, 200 * MBIT),
            Rack((1, 3, 5), 200 * MBIT, 200 * MBIT),
        ),
    ),
    "slow upload only": parse_network("3 x 200mbit + 1 x 50mbit:200mbit"),
    "p = 2": parse_network("2 x 200mbit"),
    "p = 16": parse_network("16 x 200mbit"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=NETWORKS, help="can be given repeatedly")
    options = parser.parse_args()
    rows = [["network", "found", "largest error of a rate", "racks right?", "seconds", "MB"]]
    for name in options.only or NETWORKS:
        found = probe(NETWORKS[name])
        print(name, *found.warnings, sep="\n  ", flush=True)
        rows.append([name, *row(NETWORKS[name], found)])
        print(" | ".join(rows[-1]), flush=True)
    if not options.only:
        write_section(TITLE, "python benchmarks/probe.py", TEXT, rows)


TEXT = (
    "`firetree probe` on networks that `firetree lab` emulates; no probe is told what it runs on. "
    "The error is the largest over both directions of all ports and uplinks."
)


def probe(network: Network) -> Probe:
    """What `firetree probe` says of the network."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.json")
        file.write_text(to_json(network), encoding="utf-8")
        command = [*COMMAND, "lab", "--network", file, "--", *COMMAND, "probe", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Probe.from_json(done.stdout)


def row(told: Network, found: Probe) -> list[str]:
    worst = max(errors(told, found.network), key=abs)
    right = {rack.hosts for rack in told.racks} == {rack.hosts for rack in found.network.racks}
    ports = [min(host.up_bytes_s, host.down_bytes_s) for host in found.network.hosts]
    spread = f"{format_rate(min(ports))} to {format_rate(max(ports))}"
    racks = [
        f"{','.join(map(str, rack.hosts))}: {format_rate(rack.out_bytes_s)}"
        for rack in found.network.racks
    ]
    return [
        f"ports {spread}" + (f"; racks {'; '.join(racks)}" if racks else ""),
        f"{worst:+.1%}",
        "yes" if right else "no",
        f"{found.seconds:.1f}",
        f"{found.sent_bytes / 1e6:,.0f}",
    ]


def errors(told: Network, found: Network) -> Iterator[float]:
    """How far off each rate is, as a part of what the lab was told."""
    for number, host in enumerate(told.hosts):
        others = [other for at, other in enumerate(told.hosts) if at != number]
        up = min(host.up_bytes_s, sum(other.down_bytes_s for other in others))
        down = min(host.down_bytes_s, sum(other.up_bytes_s for other in others))
        yield found.hosts[number].up_bytes_s / up - 1
        yield found.hosts[number].down_bytes_s / down - 1
    rack_of = {rack.hosts: rack for rack in found.racks}
    for rack in told.racks:
        if measured := rack_of.get(rack.hosts):
            yield measured.out_bytes_s / rack.out_bytes_s - 1
            yield measured.in_bytes_s / rack.in_bytes_s - 1


if __name__ == "__main__":
    main()
