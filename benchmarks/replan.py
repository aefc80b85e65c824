"""A link drops to a quarter while a run trains with `--plan auto`, and later recovers.

Says how long a step takes before, with the old plan, and with the one that the run makes by itself.
Needs root, `ip` and `tc`, and nothing else on the machine: about three minutes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from firetree.lab import Lab
from firetree.network import parse_network, parse_rate
from firetree.trace import StepTrace, read_trace
from results import write_section

HOSTS, VICTIM, RATE, DROPPED = 4, 2, "200mbit", "50mbit"
DROP_S, RECOVERY_S = 40.0, 110.0
RECIPE = "digits --plan auto --if-slower warn --model.name squeezenet_v1_1 --data.size 32 --optim.steps 450"
NEW_PLAN = re.compile(r"step (\d+): sums take .* planned anew")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    changes_s, plans, steps = trained()
    write_section(
        "A plan made anew when a link changes",
        "python benchmarks/replan.py",
        f"`firetree train --plan auto`, SqueezeNet v1.1 on digits of 32², {HOSTS} hosts at {RATE}; host "
        f"{VICTIM}'s link drops to {DROPPED} and comes back. Median (least to most) over the steps of "
        "each phase, from rank 0's trace; the algorithm is what summed the largest bucket.",
        [*table(changes_s, plans, steps)],
    )


def trained() -> tuple[list[float], list[int], Sequence[StepTrace]]:
    """When the link changed, after which steps the run planned anew, and rank 0's steps."""
    firetree = str(Path(sys.executable).with_name("firetree"))
    with Lab(parse_network(f"{HOSTS} x {RATE}")) as lab, tempfile.TemporaryDirectory() as folder:
        command = [firetree, "train", *RECIPE.split(), "--run-dir", folder]
        quiet = {"stdout": subprocess.DEVNULL}
        told = {"stdout": subprocess.PIPE, "text": True}
        first, *_ = [lab.start(host, command, **(quiet if host else told)) for host in range(HOSTS)]
        changes_s, start_s = [], time.monotonic()
        for after_s, rate in ((DROP_S, DROPPED), (RECOVERY_S, RATE)):
            time.sleep(start_s + after_s - time.monotonic())
            changes_s.append(time.monotonic())
            lab.set_rate(VICTIM, parse_rate(rate))
        said, _ = first.communicate()
        print(said)
        return changes_s, [*map(int, NEW_PLAN.findall(said))], read_trace(folder).ranks[0].steps


def table(
    changes_s: Sequence[float], plans: Sequence[int], steps: Sequence[StepTrace]
) -> Iterator[list[str]]:
    def phase(step: StepTrace) -> tuple[int, int]:
        links = sum(at_s <= step.start_s for at_s in changes_s)
        return links, sum(at <= step.step for at in plans)

    yield ["link", "plan", "steps", "summed by", "ms a step"]
    for (links, plan), among in groupby(steps, phase):
        phase_steps = list(among)
        ms = sorted(1e3 * step.step_s for step in phase_steps)
        yield [
            (RATE, DROPPED, f"{RATE} again")[links],
            f"number {plan + 1}",
            str(len(ms)),
            phase_steps[-1].algorithm,
            f"{median(ms):.0f} ({ms[0]:.0f} to {ms[-1]:.0f})",
        ]


if __name__ == "__main__":
    main()
