"""Test error on MNIST and Fashion-MNIST seen in 24 glimpses (Ba et al. 2016, table 2), by model and units.

The ConvNet sees the whole image. All have the same number of epochs, at the best of the same learning
rates, which are tried with the least units for a few epochs and a seed of its own.
What is done is kept in `glimpses.csv`, so that the table can grow over several sittings:

    python reproduce/glimpses.py --data mnist --units 50 --models glimpses_lstm,convnet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from cells import Row, done
from page import median_and_each, write_table

from points import rows

TABLE = Path(__file__).with_name("glimpses.csv")
EPOCHS = 10
UNITS = (50, 100, 200)
RATES = (0.002, 0.004, 0.008)
SEEDS = (0, 1, 2)
Cell = dict[str, object]
SEARCH: Cell = {"units": UNITS[0], "epochs": 3, "seed": 100}
FIELDS = {
    "model": "model.name",
    "units": "model.hidden",
    "epochs": "optim.epochs",
    "rate": "optim.lr",
    "seed": "seed",
}
"""Of a recipe, for what a cell is."""
PAPER = {
    "glimpses_irnn": (12.95, 1.95, 1.42),
    "glimpses_lstm": (12.0, 1.55, 1.10),
    "glimpses_fast_weights": (7.21, 1.30, 0.85),
    "convnet": (1.81, 1.00, 0.9),
}
"""Test errors on MNIST in %, by `UNITS`, from memory."""
DATA = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--models", default=",".join(PAPER))
    parser.add_argument("--units", default=",".join(map(str, UNITS)))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    options = parser.parse_args()
    kinds = (options.seeds, options.data, options.units, options.models)
    for seed, data, units, model in product(*(kind.split(",") for kind in kinds)):
        cell = {"data": data, "model": model, "units": int(units)}
        rate = best_rate(options.folder, cell)
        run(options.folder, cell | {"epochs": EPOCHS, "seed": int(seed), "rate": rate})
        write([row for row in rows(TABLE) if row["seed"] != str(SEARCH["seed"])])


def best_rate(folder: Path, cell: Cell) -> float:
    """The rate with the least error after a short run with the least units."""

    def after(rate: float) -> float:
        row = run(folder, cell | SEARCH | {"rate": rate})
        return float(row["error_percent"] or "inf")

    return min(RATES, key=after)


def run(folder: Path, cell: Cell) -> Row:
    values = {field: cell[name] for name, field in FIELDS.items()}
    path = folder / f"{cell['data']}.npz"
    return done(TABLE, cell, f"{cell['data']}-glimpses", values | {"data.path": path})


def write(found: list[Row]) -> None:
    headings = ["data", "model", *(f"{units} units" for units in UNITS), "paper (from memory)"]
    minutes = [float(row["cpu_s"]) / 60 for row in found]
    write_table(
        "Glimpses",
        "python reproduce/glimpses.py",
        f"Test error in % after {EPOCHS} epochs, the median of seeds (each of them), at the best rate "
        f"among {', '.join(map(str, RATES))} for {UNITS[0]} units; {min(minutes):.1f} to "
        f"{max(minutes):.1f} minutes of one core for each cell. Fashion-MNIST stands in for the paper's facial expressions.",
        [headings, *(line for data in DATA for line in lines(data, found))],
    )


def lines(data: str, found: list[Row]) -> Iterator[list[str]]:
    for model, paper in PAPER.items():
        known = [row for row in found if (row["data"], row["model"]) == (data, model)]
        errors = [errors_of(row for row in known if row["units"] == str(units)) for units in UNITS]
        papers = " / ".join(f"{percent:.2f}" for percent in paper) if data == "mnist" else ""
        yield [DATA[data], model, *errors, papers]


def errors_of(seeds: Iterable[Row]) -> str:
    by_seed = sorted(seeds, key=lambda row: int(row["seed"]))
    return median_and_each([float(row["error_percent"] or "inf") for row in by_seed])


if __name__ == "__main__":
    main()
