"""Time to accuracy on a slow network: Gloo's DDP, parameter server, our plan, and fewer bytes.

Four hosts at 50 Mbit/s in the lab, the digits that come with scikit-learn to 97 %, three seeds in turn.
Needs root, `ip` and `tc`, and nothing else on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from firetree.bench.accuracy import HEADINGS, AccuracyOptions, AccuracyRun, compare, rows
from firetree.network import Network
from results import tell, write_section

WAYS = "gloo,parameter_server,plan,plan+int8,plan+topk:0.01,gloo+local:16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/time-to-accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    options = AccuracyOptions("digits", target=0.97, ways=WAYS, seeds=asked.seeds, runs=asked.runs)
    extra = ["--checkpoint-steps", "100000"]
    write(options, compare(options, Network.load(options.network), extra, tell))


def write(options: AccuracyOptions, runs: Sequence[AccuracyRun]) -> None:
    write_section(
        "Time to accuracy",
        "python benchmarks/time_to_accuracy.py",
        f"`{options.recipes}` to {options.target:.0%} on `{options.network}`: medians of {options.seeds} "
        "seeds; seconds are those of the steps alone, bytes those of all hosts. `gloo` is DDP's own "
        "all-reduce.",
        [list(HEADINGS), *map(list, rows(runs))],
    )


if __name__ == "__main__":
    main()
