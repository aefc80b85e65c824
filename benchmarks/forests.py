"""Forests on random networks: their predicted time beside the optimum and beside the best ring.

Nothing is sent, so other processes do not matter: times are predicted, and planning is counted in CPU time.
With `--lab 5`, five other networks are laid in the lab, and forests are measured beside their prediction:
that needs root, `ip` and `tc`, and nothing else on the machine, for a few minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from firetree.network import Host, Network, Rack, to_json
from firetree.planning.bound import optimum_s
from firetree.planning.forest_search import find_forest
from firetree.planning.simulate import price
from firetree.planning.tree import Tree
from results import tell, write_section

BUFFER_BYTES = 5e6
MBIT = 1e6 / 8
BENCH = "bench allreduce --algorithms forest --sizes 5MB --repeats 7 --predict --json"
LAB_HOSTS = 6
"""All hosts share this machine's cores."""
SLOW = 3
"""A port is slow that has so many times less than the median in its direction."""


@dataclass(frozen=True, slots=True)
class Point:
    """One network: times as multiples of the optimum, and what planning took."""

    hosts: int
    racks: int
    forest: float
    ring: float
    cpu_s: float
    one_tree: bool
    has_slow_port: bool


def draw(rng: random.Random) -> Network:
    """3 to 10 hosts of 50 to 400 Mbit/s, a third of them unequal in both directions, in 0 to 3 racks."""
    size = rng.randint(3, 10)
    hosts = []
    for _ in range(size):
        up = rng.choice([50, 100, 200, 200, 200, 400]) * MBIT
        factor = rng.choice([0.25, 0.5, 2]) if rng.random() < 1 / 3 else 1
        hosts.append(Host(up, factor * up))
    racks = []
    if size >= 4 and rng.random() < 0.6:
        order = rng.sample(range(size), size)
        cuts = sorted(rng.sample(range(1, size), rng.choice([1, 1, 2] if size >= 6 else [1])))
        for begin, end in zip([0, *cuts], [*cuts, size], strict=True):
            members = tuple(sorted(order[begin:end]))
            out = rng.choice([0.25, 0.5, 0.75, 1.5]) * sum(
                hosts[host].up_bytes_s for host in members
            )
            into = (rng.choice([0.5, 2]) if rng.random() < 1 / 3 else 1) * out
            racks.append(Rack(members, out, into))
    return Network(tuple(hosts), tuple(racks))


def best_ring_s(network: Network) -> float:
    """The best ring of any order, without latency: it visits each rack once, so each link is crossed once."""
    ports = [rate for host in network.hosts for rate in (host.up_bytes_s, host.down_bytes_s)]
    uplinks = [rate for rack in network.racks for rate in (rack.out_bytes_s, rack.in_bytes_s)]
    return 2 * (network.size - 1) / network.size * BUFFER_BYTES / min(ports + uplinks)


def measure(network: Network) -> Point:
    begun_s = time.process_time()
    found = find_forest(network, BUFFER_BYTES)
    cpu_s = time.process_time() - begun_s
    least_s = optimum_s(network, BUFFER_BYTES)
    return Point(
        network.size,
        len(network.racks),
        price(found.schedule(), network, BUFFER_BYTES).time_s / least_s,
        best_ring_s(network) / least_s,
        cpu_s,
        isinstance(found, Tree),
        has_slow_port(network),
    )


def has_slow_port(network: Network) -> bool:
    ups = [host.up_bytes_s for host in network.hosts]
    downs = [host.down_bytes_s for host in network.hosts]
    return any(SLOW * min(rates) <= median(rates) for rates in (ups, downs))


def table(points: Sequence[Point]) -> Iterator[list[str]]:
    yield [
        "networks", "how many", "forest × optimum: median", "90%", "worst", "of one tree",
        "best ring × optimum: median", "worst", "best ring × forest: median", "least",
        "planning, CPU s: median", "worst",
    ]  # fmt: skip
    groups = {
        "all": points,
        "no racks": [it for it in points if not it.racks],
        "two racks": [it for it in points if it.racks == 2],
        "three racks": [it for it in points if it.racks == 3],
        "8 hosts": [it for it in points if it.hosts == 8],
        "a port 3 times slower": [it for it in points if it.has_slow_port],
    }
    for name, mine in groups.items():
        forests, rings = sorted(it.forest for it in mine), [it.ring for it in mine]
        cpu_s, gains = [it.cpu_s for it in mine], [it.ring / it.forest for it in mine]
        yield [
            name,
            str(len(mine)),
            f"{median(forests):.3f}",
            f"{forests[int(0.9 * len(forests))]:.3f}",
            f"{forests[-1]:.3f}",
            str(sum(it.one_tree for it in mine)),
            f"{median(rings):.2f}",
            f"{max(rings):.2f}",
            f"{median(gains):.2f}",
            f"{min(gains):.2f}",
            f"{median(cpu_s):.2f}",
            f"{max(cpu_s):.2f}",
        ]


def in_lab(count: int, seed: int) -> Iterator[list[str]]:
    """Each network's forest as it is probed, planned and run there."""
    yield ["hosts", "racks", "ms (least to most)", "predicted, ms", "× predicted", "× Gloo"]
    drawn = (draw(random.Random(1000 * seed - number)) for number in itertools.count(1))
    for network in itertools.islice((it for it in drawn if it.size <= LAB_HOSTS), count):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(to_json(network))
            file.flush()
            firetree = str(Path(sys.executable).with_name("firetree"))
            command = [firetree, "lab", "--network", file.name, "--", firetree, *BENCH.split()]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
        (row,) = (it for it in json.loads(done.stdout) if it["algorithm"] == "forest")
        ms, least, most = (1e3 * row[key] for key in ("median_s", "least_s", "most_s"))
        predicted_ms = 1e3 * row["predicted_s"]
        yield [
            str(network.size),
            str(len(network.racks)),
            f"{ms:.1f} ({least:.1f} to {most:.1f})",
            f"{predicted_ms:.1f}",
            f"{ms / predicted_ms:.2f}",
            f"{row['ratio_to_gloo']:.2f}",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--lab", type=int, default=0, metavar="N", help="measure N others instead")
    options = parser.parse_args()
    if options.lab:
        write_section(
            "Forests in the lab, beside their prediction",
            f"python benchmarks/forests.py --lab {options.lab} --seed {options.seed}",
            f"As above, on {options.lab} other networks of at most {LAB_HOSTS} hosts, 5 MB: each is "
            "probed, planned for by what the probe says, and run.",
            [*in_lab(options.lab, options.seed)],
        )
        return
    points = []
    for number in range(options.networks):
        tell(f"network {number + 1} of {options.networks}")
        points.append(measure(draw(random.Random(1000 * options.seed + number))))
    write_section(
        "Forests beside the optimum",
        f"python benchmarks/forests.py --networks {options.networks} --seed {options.seed}",
        "Predicted for 5 MB on random networks (3 to 10 hosts of 50 to 400 Mbit/s, a third of them unequal in "
        "both directions, up to three racks). The optimum is the fastest packing of trees. The best ring "
        "of any order is exact, but by its bytes alone. A port is slow that has a third of the median or less.",
        [*table(points)],
    )


if __name__ == "__main__":
    main()
