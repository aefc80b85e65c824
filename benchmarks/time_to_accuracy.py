"""Time to accuracy on a slow network: Gloo's DDP, parameter server, our plan, and fewer bytes.

Four hosts at 50 Mbit/s in the lab, the digits that come with scikit-learn to 97 %, three seeds in turn.
Needs root, `ip` and `tc`, and nothing else on the machine. Writes a page with the curves to
`docs/figures`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from firetree.bench.accuracy import HEADINGS, AccuracyOptions, compare, rows
from firetree.bench.accuracy_plot import as_html
from firetree.durable import write_durably
from firetree.network import load_network
from results import write_section

PAGE = Path(__file__).parent.parent / "docs" / "figures" / "time-to-accuracy.html"
WAYS = "gloo,parameter_server,plan,plan+int8,plan+topk:0.01,gloo+local:16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/time-to-accuracy"))
    options = AccuracyOptions("digits", target=0.97, ways=WAYS, runs=parser.parse_args().runs)
    extra = ["--checkpoint-steps", "100000"]
    runs = compare(options, load_network(options.network), extra, tell)
    write_durably(PAGE, as_html(runs).encode())
    write_section(
        "Time to accuracy",
        "python benchmarks/time_to_accuracy.py",
        f"`{options.recipes}` to {options.target:.0%} on `{options.network}`: medians of {options.seeds} "
        "seeds; seconds are those of the steps alone, bytes those of all hosts. `gloo` is DDP's own "
        "all-reduce. [The curves](../docs/figures/time-to-accuracy.html).",
        [list(HEADINGS), *map(list, rows(runs))],
    )


def tell(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
