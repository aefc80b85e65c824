"""A training step, replayed in the lab: predicted against measured speed-up, and weak scaling.

Gradients of the real sizes become ready at the times of the real backward pass, stretched to a
second's computation, and are summed for real: by the plan, and by the backend's own all-reduce.
Needs root, `ip` and `tc`, 16 GB of memory, and nothing else on the machine: about half an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from results import write_points, write_section

CASES: dict[str, tuple[tuple[int, ...], int]] = {
    "squeezenet_v1_1": ((2, 4, 8, 16), 3),
    "nin": ((2, 4, 8, 16), 3),
    "googlenet": ((2, 4, 8, 16), 3),
    "alexnet": ((2, 4, 16), 2),
    "vgg19": ((2, 4), 2),
}
"""For each model the numbers of hosts, and the repeats: a step of VGG-19 takes half a minute."""

RATE, COMPUTE = "200mbit", "1s"
POINTS = Path(__file__).with_name("step.csv")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=", ".join(CASES))
    models = parser.parse_args().models or CASES
    rows: list[Row] = []
    for model in models:
        rows += replayed(model)
        write_points(POINTS, rows)
    errors = sorted(map(off, rows))
    write_section(
        "A step replayed",
        "python benchmarks/step.py",
        f"Hosts of {RATE}, {COMPUTE} of computation a step on each, as a CPU takes for 32 "
        "images with SqueezeNet. Speed-up: samples a second against one host's; efficiency: that "
        "over the hosts, which is weak scaling. Medians of 3 interleaved repeats (AlexNet, VGG-19: 2), the "
        "prediction from a probe before them. The predicted speed-up is off by "
        f"{median(errors):.1%} in the median, {errors[-1]:.1%} at most.",
        [*table(rows)],
    )


def replayed(model: str) -> list[Row]:
    hosts, repeats = CASES[model]
    firetree = str(Path(sys.executable).with_name("firetree"))
    command = [firetree, "bench", "step", "--model", model, "--network", f"{max(hosts)} x {RATE}"]
    command += ["--world-size", ",".join(map(str, hosts)), "--compute", COMPUTE]
    command += ["--ways", "plan,gloo", "--repeats", str(repeats), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout))


def off(row: Row) -> float:
    return abs(float(row["predicted_speedup"]) / float(row["speedup"]) - 1)


def table(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["model", "hosts", "way", "step s", "speed-up", "predicted", "off by", "efficiency"]
    for row in rows:
        way = f"plan: {row['algorithm']}" if row["way"] == "plan" else "Gloo"
        yield [
            row["model"],
            str(row["world_size"]),
            way,
            f"{row['measured_s']:.2f} ({row['least_s']:.2f} to {row['most_s']:.2f})",
            f"{row['speedup']:.2f}",
            f"{row['predicted_speedup']:.2f}",
            f"{off(row):.1%}",
            f"{row['speedup'] / row['world_size']:.0%}",
        ]


if __name__ == "__main__":
    main()
