"""The table of associative retrieval (Ba et al. 2016, table 1): test error by model and units.

All models do the same number of updates at the best of the same learning rates, which are tried on
validation sequences for an eighth of the updates with a seed of their own. A cell is a model, a number
of units and a seed; each that is done is a part of `associative_retrieval.csv`, and a cell that was
cut off goes on where it was, so that the table, and the curves in
`docs/figures/associative-retrieval.svg`, can grow over several sittings:

    python reproduce/associative_retrieval.py --units 50 --models fast_weights,lstm
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curves import band, by_name
from matplotlib.figure import Figure
from page import median_and_each, save_figure, write_lines

from points import add, least, part, read

HERE = Path(__file__).parent
POINTS = HERE / "associative_retrieval.csv"
TABLE = HERE / "associative_retrieval.md"
PICTURE = HERE.parent / "docs" / "figures" / "associative-retrieval.svg"
RUNS = HERE.parent / "runs" / "associative_retrieval"

EPOCHS = {20: 160, 50: 40, 100: 20}
"""Epochs for each number of units, the same for all models."""
RATES = (0.001, 0.002, 0.004)
SEARCH_SEED, SEARCH_PART = 100, 8
SEEDS = (0, 1, 2)
PAPER = {
    "irnn": (62.11, 60.23, 0.34),
    "lstm": (60.81, 1.85, 0.0),
    "associative_lstm": (60.13, 1.62, 0.0),
    "fast_weights": (1.81, 0.0, 0.0),
}
MODELS: Mapping[str, Mapping[str, object]] = {
    "irnn": {},
    "lstm": {},
    "associative_lstm": {},
    "fast_weights": {},
    "normalised_fast_weights": {"model.name": "fast_weights", "model.normalise-first": True},
    "lasting_fast_weights": {"model.name": "fast_weights", "model.decay": 1.0, "model.rate": 0.15},
    "delta": {},
}
"""With fields of the recipe's. Of normalised ones h₀ is normalised too, which the paper's is not;
lasting ones do not fade (λ = 1, η = 0.15)."""
COMPILED = {"associative_lstm"}
"""What torch.compile makes twice as fast; it brings the others little."""
COLOURS = ("#e45756", "#4c78a8", "#54a24b", "#f58518", "#9d755d", "#b279a2", "#72b7b2")
LEAST = 0.005
"""One of the test sequences in percent, as which none is drawn."""


@dataclass(frozen=True)
class Cell:
    """One run of the trainer."""

    model: str
    units: int
    seed: int
    rate: float
    epochs: int
    held_out: str


@dataclass(frozen=True)
class Point(Cell):
    """The error of a cell after some of its epochs, and how fast it was trained."""

    epoch: int
    error_percent: float
    samples_per_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--units", default="50,100,20")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    options = parser.parse_args()
    for units in map(int, options.units.split(",")):
        for seed in map(int, options.seeds.split(",")):
            for model in options.models.split(","):
                done(Cell(model, units, seed, best_rate(model, units), EPOCHS[units], "test"))
                write(curves_by_model(read(POINTS, Point)))


def best_rate(model: str, units: int) -> float:
    """Of `RATES` the one with the least error on validation sequences after a short run."""
    epochs = EPOCHS[units] // SEARCH_PART
    for rate in RATES:
        done(Cell(model, units, SEARCH_SEED, rate, epochs, "validation"))
    return searched(read(POINTS, Point))[model, units]


def searched(points: Sequence[Point]) -> dict[tuple[str, int], float]:
    """The best of the rates that are tried for a model and its units."""
    tried = [p for p in points if p.held_out == "validation" and p.epoch == p.epochs]
    best = least(tried, lambda p: (p.model, p.units), lambda p: (p.error_percent, p.rate))
    return {cell: point.rate for cell, point in best.items()}


def done(cell: Cell) -> list[Point]:
    """The cell's points: from the file, or else from a run."""
    known = [point for point in read(POINTS, Point) if part(point, Cell) == cell]
    return known or run(cell)


def run(cell: Cell) -> list[Point]:
    folder = RUNS / "-".join(map(str, asdict(cell).values()))
    print(f"{cell} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "firetree", "train", "associative-retrieval"]
    for field, value in {"model.name": cell.model, **MODELS[cell.model]}.items():
        command += [f"--{field}", str(value)]
    command += ["--model.hidden", str(cell.units)]
    command += ["--seed", str(cell.seed), "--optim.lr", str(cell.rate)]
    command += ["--optim.epochs", str(cell.epochs), "--data.held-out", cell.held_out]
    command += ["--checkpoint-steps", "5000", "--keep-checkpoints", "1"]
    command += ["--compile"] * (cell.model in COMPILED)
    subprocess.run(
        [*command, "--run-dir", str(folder), "--resume"], check=True, stdout=subprocess.DEVNULL
    )
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points = [
        Point(
            **asdict(cell),
            epoch=line["epoch"],
            error_percent=round(100 - 100 * line["accuracy"], 3),
            samples_per_s=round(line["samples_per_s"]),
        )
        for line in map(json.loads, lines)
    ]
    add(POINTS, points)
    shutil.rmtree(folder)
    return points


Found = dict[tuple[str, int], list[list[Point]]]
"""For each model and its units the test errors after each epoch at the searched rate, by seed."""


def curves_by_model(points: Sequence[Point]) -> Found:
    rates = searched(points)

    def name(point: Point) -> tuple[str, int]:
        return point.model, point.units

    tests = [p for p in points if p.held_out == "test" and p.rate == rates.get(name(p))]
    return by_name(tests, name)


def write(found: Found) -> None:
    write_lines(TABLE, table(found))
    save_figure(drawn(found), PICTURE)


def table(found: Found) -> Iterator[str]:
    """Median error of the seeds that are done, each seed's own, and the paper's."""
    yield "| model | " + " | ".join(f"R = {units} | paper" for units in EPOCHS) + " |"
    yield "|---" * (1 + 2 * len(EPOCHS)) + "|"
    for model in MODELS:
        row = [model]
        for column, units in enumerate(EPOCHS):
            errors = [curve[-1].error_percent for curve in found.get((model, units), [])]
            row.append(median_and_each(errors))
            row.append(f"{PAPER[model][column]:.2f}" if model in PAPER else "")
        yield "| " + " | ".join(row) + " |"


def drawn(found: Found) -> Figure:
    """For each number of units the error of each model after each epoch."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, len(EPOCHS), sharey=True)
    for panel, units in zip(panels, EPOCHS, strict=True):
        for model, colour in zip(MODELS, COLOURS, strict=True):
            curves = found.get((model, units))
            if curves:
                epochs = [point.epoch for point in curves[0]]
                errors = [[max(point.error_percent, LEAST) for point in curve] for curve in curves]
                band(panel, epochs, errors, model, colour)
        panel.set_title(f"R = {units}")
        panel.set_xlabel("epochs of 100,000 sequences")
        panel.set_yscale("log")
    panels[0].set_ylabel("test error, %")
    panels[0].legend(loc="lower left", fontsize="small")
    return figure


if __name__ == "__main__":
    main()
