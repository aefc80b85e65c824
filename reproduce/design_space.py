"""SqueezeNet's design space on CIFAR-10: squeeze ratio, share of 3×3 filters, and bypasses.

The paper's sweeps (Iandola et al. 2016, figures 3 and 4, table 3) with a small net of half the width,
images of half the size, batch normalisation, three seeds and a fixed budget. Runs are kept in
`runs/design-space`, which a repeated command completes; the table goes to `reproduce/RESULTS.md`, the
curves to `docs/figures`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from page import save_figure, tell, write_table

from firetree.commands.sweep import parse_vary
from firetree.sweeps import Combination, sweep

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "design-space.png"
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
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    panels = figure.subplots(1, len(SWEEPS))
    table = [["varied", "value", "parameters", "top-1", "least to most", "paper (ImageNet)"]]
    for panel, (name, texts) in zip(panels, SWEEPS.items(), strict=True):
        asked = (*texts, *NET, f"data.path={data / 'cifar10'}", f"optim.epochs={EPOCHS}")
        rows = sweep(
            "cifar-squeezenet",
            parse_vary(asked),
            seeds=3,
            jobs=2,
            runs=Path("runs/design-space", name.replace(" ", "-")),
            progress=tell,
        ).rows
        field = texts[0].partition("=")[0]
        draw(panel, name, field, rows)
        table += cells(name, field, rows)
    save_figure(figure, FIGURE)
    write_table(
        "SqueezeNet's design space",
        "python reproduce/design_space.py",
        f"`squeezenet_small` of half the width with batch normalisation on CIFAR-10 at 16×16, {EPOCHS} "
        "epochs, median of three seeds, with simple bypasses where these are not varied. The paper's share of "
        "3×3 goes from 1 to 99 %, ours from 5 to 95. [Curves](../docs/figures/design-space.png).",
        table,
    )


def draw(panel: Axes, name: str, field: str, rows: Sequence[Combination]) -> None:
    """Our medians with the least and the most, and the paper's points by an axis of their own."""
    known = [row for row in rows if row.values[field] in PAPER[name]]
    beside = panel.twinx()
    for axis, label, colour, points in (
        (panel, "ours, top-1", "#4c78a8", [(row, 100 * row.accuracy) for row in rows]),
        (beside, "the paper", "#f58518", [(r, float(PAPER[name][r.values[field]])) for r in known]),
    ):
        places = [rows.index(row) for row, _ in points]
        axis.plot(places, [height for _, height in points], "o-", c=colour)
        axis.set_ylabel(f"{label}, %", color=colour)
    least, most = ([100 * end(row.accuracies) for row in rows] for end in (min, max))
    panel.fill_between(range(len(rows)), least, most, alpha=0.2)
    panel.set_xticks(range(len(rows)), [row.values[field] for row in rows])
    panel.set_xlabel(name)


def cells(name: str, field: str, rows: Sequence[Combination]) -> Iterator[list[str]]:
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
