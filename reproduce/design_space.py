"""SqueezeNet's design space on CIFAR-10: squeeze ratio, share of 3×3 filters, and bypasses.

The paper's sweeps (Iandola et al. 2016, figures 3 and 4, table 3) with a small net of half the width,
pictures of half the size, batch normalisation, three seeds and a fixed budget. Runs are kept in
`runs/design-space`, which a repeated command completes; the table goes to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from page import tell, write_table

from firetree.sweep.command import Row, SweepOptions, sweep

EPOCHS = 6
NET = ("data.size=16", "model.base_e=24", "model.incr_e=24", "model.batch_norm=true")
SWEEPS = {
    "squeeze ratio": ("model.squeeze_ratio=0.125,0.25,0.5,0.75,1.0", "model.pct_3x3=0.5"),
    "share of 3×3": ("model.pct_3x3=0.05,0.25,0.5,0.75,0.95", "model.squeeze_ratio=0.5"),
    "bypass": ("model.bypass=none,simple,complex",),
}
PAPER = {
    "squeeze ratio": {"0.125": "80.3", "0.75": "86.0", "1.0": "86.0"},
    "share of 3×3": {"0.5": "85.6", "0.95": "85.6"},
    "bypass": {"none": "57.5", "simple": "60.4", "complex": "58.8"},
}
"""On ImageNet, in %: top-5 of the two sweeps, which are flat from the second value on, and top-1 of
the bypasses."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    table = [["varied", "value", "parameters", "top-1", "least to most", "paper (ImageNet)"]]
    for name, varied in SWEEPS.items():
        options = SweepOptions(
            "cifar-squeezenet",
            (*varied, *NET, f"data.path={data / 'cifar10'}", f"optim.epochs={EPOCHS}"),
            seeds=3,
            jobs=2,
            runs=Path("runs/design-space", name.replace(" ", "-")),
        )
        table += cells(name, varied[0].partition("=")[0], sweep(options, tell))
    write_table(
        "SqueezeNet's design space",
        "python reproduce/design_space.py",
        f"`squeezenet_small` of half the width with batch normalisation on CIFAR-10 at 16×16, {EPOCHS} "
        "epochs, median of three seeds. The paper's share of 3×3 goes from 1 to 99 %, ours from 5 to 95.",
        table,
    )


def cells(name: str, field: str, rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        value = row.values[field]
        yield [
            name,
            value,
            f"{row.parameters:,}",
            f"{row.accuracy:.2%}",
            f"{min(row.accuracies):.2%} to {max(row.accuracies):.2%}",
            PAPER[name].get(value, ""),
        ]


if __name__ == "__main__":
    main()
