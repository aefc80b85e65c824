"""FireCaffe's figure: speed-up over 1 to 128 machines, by parameter server, by tree, and by our plan.

Each step is priced by the simulation that `benchmarks/prediction.py` checks against measurements. What
a message, a byte and an addition cost a CPU is probed in the lab first (root, `ip` and `tc`).
Writes a page and an image to `docs/figures`, in about ten minutes.
"""

from __future__ import annotations

import argparse
import html
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from page import drawn_as, save_figure

from firetree.durable import write_durably
from firetree.models.cost import cost
from firetree.models.profile import Profile
from firetree.models.resolve import resolve
from firetree.models.timing import measure
from firetree.network import Host, Network, parse_rate
from firetree.planning.plan import Prices, make_plan
from firetree.planning.step import step

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
MODELS = ("squeezenet_v1_1", "nin", "googlenet", "alexnet", "vgg19")
MACHINES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH = 1024
RATE = "10gbit"

PAPER = {"googlenet": {32: 20.0, 128: 47.0}, "nin": {32: 13.0, 128: 39.0}}
"""Speed-ups of GPUs with a reduction tree (Iandola et al. 2016; those of 32 are approximate)."""
FITTED = ("googlenet", 128)

SERVER, TREE, OURS = "parameter server", "reduction tree", "firetree's plan"
COLOURS = {SERVER: "#e45756", TREE: "#4c78a8", OURS: "#54a24b"}
CANDIDATES = ("ring", "double_binary_tree", "halving_doubling", "circulant")
"""What can be best on equal links; more would take long to price and change nothing."""

AT_ONCE = 1 << 40
"""A bucket that holds all gradients, summed when the last of them is there, as in the paper."""

Speedups = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Course:
    """A step of one sample: its arithmetic, forward and backward, and when its gradients are there."""

    flops: float
    profile: Profile

    def on(self, machines: int, flops_s: float) -> Profile:
        """The step of one of the machines that share the batch."""
        return self.profile.scaled(self.flops * BATCH / machines / flops_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    alike = network_alike()
    prices = {machines: Prices(alike(machines)) for machines in MACHINES[1:]}
    for priced in prices.values():
        priced.names = [*CANDIDATES]
    courses = {model: course_of(model) for model in MODELS}
    flops_s = fitted_flops_s(courses, prices)
    curves: dict[str, Speedups] = {}
    for model, course in courses.items():
        print(f"pricing {model} …", file=sys.stderr, flush=True)
        curves[model] = speedups(course, prices, flops_s)
    write(curves, courses, flops_s, alike(2).hosts[0])


def network_alike() -> Callable[[int], Network]:
    """Machines at RATE, with the costs and the latency that a probe of the lab finds in the median."""
    firetree = str(Path(sys.executable).with_name("firetree"))
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        probing = [firetree, "probe", "--output", file.name]
        subprocess.run([firetree, "lab", "--hosts", "4", "--", *probing], check=True)
        found = Network.load(file.name)
    pairs = [(a, b) for a in range(found.size) for b in range(found.size) if a != b]
    latency_s = median(found.latency(a, b) for a, b in pairs)
    rate = parse_rate(RATE)
    host = Host(
        rate,
        rate,
        message_s=median(host.message_s for host in found.hosts),
        byte_s=median(host.byte_s for host in found.hosts),
        add_s=median(host.add_s for host in found.hosts),
    )

    def alike(machines: int) -> Network:
        everyone = range(machines)
        latencies = tuple(tuple(latency_s * (a != b) for b in everyone) for a in everyone)
        return Network((host,) * machines, latency_s=latencies)

    return alike


def course_of(model: str) -> Course:
    module, example = resolve(model, 1, None)
    return Course(3.0 * cost(module, example).flops, measure(module, example))


def fitted_flops_s(courses: dict[str, Course], prices: dict[int, Prices]) -> float:
    """The one number that is fitted: the speed of a machine with which the tree meets FITTED.

    With C the computation of the whole batch and S the sum's time, the speed-up s of p machines is
    C / (C/p + S), so C = s·S / (1 − s/p).
    """
    model, machines = FITTED
    speedup = PAPER[model][machines]
    sum_s = prices[machines].seconds("binomial_tree", courses[model].profile.size_bytes)
    return courses[model].flops * BATCH * (1 - speedup / machines) / (speedup * sum_s)


def speedups(course: Course, prices: dict[int, Prices], flops_s: float) -> Speedups:
    """For each way the samples a second of so many machines, against one machine's."""
    found: Speedups = {way: {1: 1.0} for way in COLOURS}
    alone_s = course.on(1, flops_s).compute_s
    for machines, priced in prices.items():
        mine = course.on(machines, flops_s)
        for way, name in ((SERVER, "parameter_server"), (TREE, "binomial_tree")):
            late = step(mine, AT_ONCE, partial(priced.seconds, name))
            found[way][machines] = alone_s / late.step_s
        found[OURS][machines] = alone_s / make_plan("", mine, priced).step_s
    return found


def write(
    curves: dict[str, Speedups], courses: dict[str, Course], flops_s: float, host: Host
) -> None:
    drawing = drawn(curves, courses)
    svg = drawn_as("svg", drawing).decode()
    page = PAGE.format(
        svg=svg[svg.index("<svg") :],
        rows="\n".join(table(curves)),
        machines="".join(f"<th>{machines}</th>" for machines in MACHINES),
        batch=BATCH,
        rate=RATE,
        flops=f"{flops_s / 1e12:.2f}",
        message=f"{host.message_s * 1e6:.0f}",
        byte=f"{host.byte_s * 1e9:.2f}",
        add=f"{host.add_s * 1e9:.2f}",
    )
    save_figure(drawing, FIGURES / "firecaffe.png")
    write_durably(FIGURES / "firecaffe.html", page.encode())
    print(f"{FIGURES / 'firecaffe.html'}: one machine computes at {flops_s / 1e12:.2f} TFLOP/s")
    for model, points in PAPER.items():
        for machines, paper in points.items():
            print(f"{model} on {machines}: {curves[model][TREE][machines]:.1f}, paper {paper:g}")


def drawn(curves: dict[str, Speedups], courses: dict[str, Course]) -> Figure:
    figure = Figure(figsize=(16, 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True)
    for panel, (model, ways) in zip(panels, curves.items(), strict=True):
        panel.plot(MACHINES, MACHINES, color="#bbb", linestyle=":", label="perfect")
        for way, points in ways.items():
            panel.plot(list(points), list(points.values()), "o-", ms=3, c=COLOURS[way], label=way)
        if paper := PAPER.get(model):
            panel.plot(list(paper), list(paper.values()), "k*", ms=10, label="paper, tree")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(MACHINES, MACHINES)
        panel.set_yticks(MACHINES, MACHINES)
        size = f"|W| = {courses[model].profile.size_bytes / 1e6:.0f} MB"
        panel.set(title=f"{model}\n{size}", xlabel="machines", ylim=(0.25, 150))
    panels[0].set_ylabel("speed-up over one machine")
    panels[1].legend(fontsize=8)
    return figure


def table(curves: dict[str, Speedups]) -> Iterator[str]:
    for model, ways in curves.items():
        for way, points in ways.items():
            cells = "".join(f"<td>{points[machines]:.1f}</td>" for machines in MACHINES)
            yield f"<tr><th>{html.escape(model)}</th><th>{html.escape(way)}</th>{cells}</tr>"
        if paper := PAPER.get(model):
            cells = "".join(f"<td>{paper.get(machines, '')}</td>" for machines in MACHINES)
            yield f"<tr><th>{html.escape(model)}</th><th>paper, tree</th>{cells}</tr>"


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Speed-up over 1 to 128 machines</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
svg {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse }}
th, td {{ padding: .1em .7em; text-align: right; font-weight: normal; border-top: 1px solid #ddd }}
th:first-child, th:nth-child(2) {{ text-align: left }}
</style>
<h1>Speed-up over 1 to 128 machines</h1>
<p>A batch of {batch} images is shared by all machines, which are joined by {rate} links. The parameter
server and the reduction tree sum all gradients when the last of them is there, as FireCaffe did;
firetree's plan takes the best algorithm for each bucket, and sums while the backward pass goes on.</p>
{svg}
<p>Every step is priced by firetree's simulation, not measured: a message costs a CPU {message} µs,
a byte {byte} ns and an addition {add} ns a byte, as probed in the lab. What matters beside them is how
fast a machine computes for what its link carries; this one number, {flops} TFLOP/s, is fitted so that
the tree meets the paper's 47 for GoogLeNet on 128 GPUs. The stars are the speed-ups that Iandola et al.
(FireCaffe, CVPR 2016) report for their cluster; those on 32 GPUs are approximate.</p>
<table>
<tr><th>model</th><th>way</th>{machines}</tr>
{rows}
</table>
</html>
"""

if __name__ == "__main__":
    main()
