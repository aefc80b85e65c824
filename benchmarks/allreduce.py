"""Every all-reduce of the docs page "Which all-reduce, when?": in the lab, and on unshaped loopback.

Each section runs `firetree bench allreduce` once, as its table says; needs root, `ip` and `tc`. Run it
with nothing else on the machine: about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from firetree import collectives
from firetree.network.units import format_bytes
from images import save_figure
from results import write_section

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "allreduce-scaling.svg"
RATE_BYTES_S = 25e6
Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A table: the command that measures it, and what it shows."""

    name: str
    title: str
    command: str
    text: str
    with_form: bool = False
    then: Callable[[Sequence[Row]], None] | None = None


BENCH = "firetree bench allreduce"
SMALL = f"{BENCH} --algorithms binomial_tree,kary_tree:3,kary_tree:7 --sizes 1kB,16kB,64kB,256kB"
SLOW = (
    f"{BENCH} --algorithms chain,pipelined_binary_tree,hierarchical:3,hierarchical:7,ring "
    "--sizes 5MB --repeats 7"
)
RACKS = f"{BENCH} --algorithms chain,hierarchical:4,ring --sizes 5MB --repeats 7"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(names))
    parser.add_argument("--before", type=Path, help="a checkout of an older version, run as well")
    arguments = parser.parse_args()
    for section in SECTIONS:
        if section.name in (arguments.sections or names):
            measure(section, arguments.before)


def measure(section: Section, before: Path | None) -> None:
    rows, text = measured(section, {}), section.text
    if before:
        environ = {"PYTHONPATH": str(before / "src")}
        text += f" Of commit {commit(before)}, measured after it beside Gloo's own: `before`."
        rows += [
            {**row, "algorithm": f"{row['algorithm']}, before"}
            for row in measured(section, environ)
            if row["algorithm"] != "gloo"
        ]
    write_section(section.title, section.command, text, table(rows, section.with_form))
    if section.then:
        section.then(rows)


def measured(section: Section, environ: dict[str, str]) -> list[Row]:
    firetree = str(Path(sys.executable).with_name("firetree"))
    words = [firetree if word == "firetree" else word for word in section.command.split()]
    environ = os.environ | environ
    done = subprocess.run([*words, "--json"], stdout=subprocess.PIPE, check=True, env=environ)
    return list(json.loads(done.stdout))


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def table(rows: Sequence[Row], with_form: bool) -> list[list[str]]:
    heading = ["ranks", "size", "algorithm", "chunks", "ms (least to most)"]
    heading += [
        "× Gloo",
        "× optimum",
        "CPU ms, all ranks",
        *(["× closed form"] if with_form else []),
    ]
    lines = [heading]
    for row in sorted(rows, key=lambda r: (r["world_size"], r["size_bytes"], r["median_s"])):
        ms, least, most = (1e3 * row[key] for key in ("median_s", "least_s", "most_s"))
        line = [str(row["world_size"]), format_bytes(row["size_bytes"]), row["algorithm"]]
        line += [str(row["chunks"]), f"{ms:.2f} ({least:.2f} to {most:.2f})"]
        line += [f"{row['ratio_to_gloo']:.2f}", f"{row['ratio_to_bound']:.2f}"]
        line.append(f"{row['cpu_s'] * 1e3:.1f}")
        if with_form:
            line.append(
                "" if row["algorithm"] == "gloo" else f"{row['median_s'] / form_s(row):.3f}"
            )
        lines.append(line)
    return lines


def form_s(row: Row) -> float:
    """The closed form of the algorithm on links without latency."""
    links = collectives.LinkGraph(latency_s=0.0, rate_bytes_s=RATE_BYTES_S)
    algorithm = collectives.find(row["algorithm"])
    return algorithm.cost(row["world_size"], row["chunks"], row["size_bytes"], links).time_s


def draw(rows: Sequence[Row]) -> None:
    """Measured points with the equations' lines through them: linear against logarithmic."""
    sizes = sorted({row["size_bytes"] for row in rows})
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(1, len(sizes))
    for panel, size in zip(panels, sizes, strict=True):
        ranks = [1 + k / 10 for k in range(10, 151)]
        once_ms = 1e3 * size / RATE_BYTES_S
        curves = {
            "parameter_server": ("2 (p−1) W/BW", [2 * (p - 1) * once_ms for p in ranks]),
            "binomial_tree": ("2 log₂p W/BW", [2 * math.log2(p) * once_ms for p in ranks]),
            "ring": ("2 (p−1)/p W/BW, the lower bound", [2 * (p - 1) / p * once_ms for p in ranks]),
        }
        for name, (formula, curve) in curves.items():
            (line,) = panel.plot(ranks, curve, linewidth=1, label=formula)
            mine = [row for row in rows if (row["algorithm"], row["size_bytes"]) == (name, size)]
            points = [row["world_size"] for row in mine], [row["median_s"] * 1e3 for row in mine]
            label = f"{name}, measured"
            panel.plot(*points, "o", color=line.get_color(), label=label)
        panel.set(title=format_bytes(size), xlabel="ranks p", ylabel="ms", xticks=[2, 4, 8, 16])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("One all-reduce on equal links of 200 Mbit/s")
    save_figure(figure, FIGURE)


def conclude_small(rows: Sequence[Row]) -> None:
    """Print the best algorithm of each cell, for the docs."""
    for ranks in sorted({row["world_size"] for row in rows}):
        mine = [row for row in rows if row["world_size"] == ranks and row["algorithm"] != "gloo"]
        mine = [row for row in mine if not row["algorithm"].endswith("before")]
        best = [
            min(
                (row for row in mine if row["size_bytes"] == size), key=lambda r: r["ratio_to_gloo"]
            )
            for size in sorted({row["size_bytes"] for row in mine})
        ]
        cells = (
            f"{format_bytes(row['size_bytes'])} {row['algorithm']} {row['ratio_to_gloo']:.2f}"
            for row in best
        )
        print(f"{ranks} ranks, of Gloo's time: {', '.join(cells)}")


SECTIONS = (
    Section(
        "scaling",
        "Equal links: parameter server, tree, and the bound",
        f"firetree lab --hosts 16 --rate 200mbit -- {BENCH} --world-size 2,4,8,16 "
        "--algorithms parameter_server,binomial_tree,ring --sizes 1MB,5MB --repeats 5",
        "FireCaffe's figure, measured (`docs/figures/allreduce-scaling.svg`). The closed forms are those "
        "without latency.",
        with_form=True,
        then=draw,
    ),
    Section(
        "equal",
        "Equal links: the algorithms that reach the bound",
        f"firetree lab --hosts 16 --rate 200mbit -- {BENCH} --world-size 4,8,16 --algorithms ring,"
        "halving_doubling,circulant,sharded_parameter_server,double_binary_tree,chain "
        "--sizes 1MB,5MB --repeats 7",
        "The bound is 2·(p − 1)/p·W/BW.",
    ),
    Section(
        "slow4",
        "One slow host among four",
        f"firetree lab --hosts 4 --rate 200mbit --slow 1=50mbit -- {SLOW}",
        "The bound is W/BW_slow: the slow host has to send the buffer and to receive it. A ring, Gloo's "
        "too, crosses its link 2·(p − 1)/p = 1.5 times, so no schedule can be more than 1.5 times as "
        "fast as a perfect one.",
    ),
    Section(
        "slow8",
        "One slow host among eight",
        f"firetree lab --hosts 8 --rate 200mbit --slow 1=50mbit -- {SLOW}",
        "As above; a perfect ring would take 1.75 times the bound.",
    ),
    Section(
        "slow4-bbr",
        "One slow host among four, with BBR",
        f"firetree lab --hosts 4 --rate 200mbit --slow 1=50mbit --tcp bbr -- {SLOW}",
        "As above, on hosts that use this machine's own congestion control.",
    ),
    Section(
        "slow8-bbr",
        "One slow host among eight, with BBR",
        f"firetree lab --hosts 8 --rate 200mbit --slow 1=50mbit --tcp bbr -- {SLOW}",
        "As above.",
    ),
    Section(
        "racks",
        "Two racks of four behind thin uplinks, ranks in rack order",
        f"firetree lab --hosts 8 --rate 200mbit --rack 0-3 --rack 4-7 --uplink 100mbit -- {RACKS}",
        "The bound is W/BW_uplink.",
    ),
    Section(
        "racks-bbr",
        "Two racks of four behind thin uplinks, ranks in rack order, with BBR",
        "firetree lab --hosts 8 --rate 200mbit --rack 0-3 --rack 4-7 --uplink 100mbit --tcp bbr "
        f"-- {RACKS}",
        "As above, on hosts that use this machine's own congestion control.",
    ),
    Section(
        "alternating",
        "Two racks of four behind thin uplinks, ranks that alternate",
        "firetree lab --hosts 8 --rate 200mbit --rack 0,2,4,6 --rack 1,3,5,7 --uplink 100mbit "
        f"-- {RACKS}",
        "Ours place their parts by rack; Gloo's ring follows the ranks and crosses the uplinks at every "
        "step.",
    ),
    Section(
        "small",
        "Small messages on loopback",
        f"{SMALL} --world-size 2,4,8,16 --repeats 15",
        "Two ranks have a core each; what the ratio falls by from there on is what waking one process "
        "after another costs where they share cores.",
        then=conclude_small,
    ),
    Section(
        "loopback",
        "Unshaped loopback",
        f"{BENCH} --world-size 2,4,8,16 --algorithms ring,circulant,kary_tree,binomial_tree "
        "--sizes 1kB,64kB,256kB,1MB,25MB,100MB --repeats 5",
        "Here memory and CPUs are the limit, and the bound is an estimate: every rank's rate when "
        "all send 8 MB to their neighbours. CPU is what all ranks together use for one all-reduce.",
        then=conclude_small,
    ),
    *(
        Section(
            f"links-{rate}",
            f"Equal links of {rate}",
            f"firetree lab --hosts 8 --rate {rate} -- {BENCH} --world-size 2,4,8 --algorithms "
            "ring,circulant,binomial_tree --sizes 1kB,64kB,1MB,25MB --repeats 5",
            "The bound is 2·(p − 1)/p·W/BW; all hosts share two cores.",
            then=conclude_small,
        )
        for rate in ("200mbit", "1gbit", "10gbit")
    ),
)


if __name__ == "__main__":
    main()
