"""Time to accuracy on a slow network: Gloo's DDP, parameter server, our plan, and fewer bytes.

Four hosts at 50 Mbit/s in the lab, the digits that come with scikit-learn to 97 %, three seeds in turn.
Needs root, `ip` and `tc`, and nothing else on the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from firetree import bench
from firetree.commands.text.bench import ACCURACY_HEADINGS, accuracy_cells
from results import tell, write_section

RECIPE, TARGET, NETWORK = "digits", 0.97, "4 x 50mbit"
WAYS = ("gloo", "parameter_server", "plan", "plan+int8", "plan+topk:0.01", "gloo+local:16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/time-to-accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    runs = bench.time_to_accuracy(
        [RECIPE],
        target=TARGET,
        ways=WAYS,
        network=NETWORK,
        seeds=asked.seeds,
        runs=asked.runs,
        fields={"checkpoint_steps": 100_000, "keep_best": False},
        progress=tell,
    )
    write_section(
        "Time to accuracy",
        "python benchmarks/time_to_accuracy.py",
        f"`{RECIPE}` to {TARGET:.0%} on `{NETWORK}`: medians of {asked.seeds} seeds; seconds are those "
        "of the steps alone, bytes those of all hosts. `gloo` is DDP's own all-reduce.",
        [list(ACCURACY_HEADINGS), *map(list, accuracy_cells(runs))],
    )


if __name__ == "__main__":
    main()
