"""Test error on MNIST and Fashion-MNIST seen in 24 glimpses (Ba et al. 2016, table 2), by model and units.

The ConvNet sees the whole picture. All have the same number of epochs at the recipe's learning rate,
which is not searched, and the last one's error counts. An LSTM of 50 units takes two and a half minutes
of one core; what is done is kept in `glimpses.csv`, so that the table can grow over several sittings:

    python reproduce/glimpses.py --data mnist --units 50 --models glimpses_lstm,convnet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from cells import Row, done, error
from page import write_table
from points import rows

TABLE = Path(__file__).with_name("glimpses.csv")
EPOCHS = 10
UNITS = (50, 100, 200)
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
    options = parser.parse_args()
    for data in options.data.split(","):
        for units in options.units.split(","):
            for model in options.models.split(","):
                run(options.folder, data, model, int(units))
                write([row for row in rows(TABLE) if row["epochs"] == str(EPOCHS)])


def run(folder: Path, data: str, model: str, units: int) -> None:
    values = {
        "data.path": folder / f"{data}.npz",
        "model.name": model,
        "model.hidden": units,
        "optim.epochs": EPOCHS,
    }
    cell = {"data": data, "model": model, "units": units, "epochs": EPOCHS}
    done(TABLE, cell, f"{data}-glimpses", values)


def write(found: list[Row]) -> None:
    headings = ["data", "model", *(f"{units} units" for units in UNITS), "paper (from memory)"]
    minutes = [float(row["cpu_s"]) / 60 for row in found]
    write_table(
        "Glimpses",
        "python reproduce/glimpses.py",
        f"Test error in % after {EPOCHS} epochs, one seed, a learning rate of 0.002 for all; "
        f"{min(minutes):.1f} to {max(minutes):.1f} minutes of one core for each cell. Empty cells are not "
        "run yet. Fashion-MNIST stands in for the paper's facial expressions.",
        [headings, *(line for data in DATA for line in lines(data, found))],
    )


def lines(data: str, found: list[Row]) -> Iterator[list[str]]:
    for model, paper in PAPER.items():
        known = {row["units"]: row for row in found if (row["data"], row["model"]) == (data, model)}
        errors = [error(known[str(units)]) if str(units) in known else "" for units in UNITS]
        papers = " / ".join(f"{percent:.2f}" for percent in paper) if data == "mnist" else ""
        yield [DATA[data], model, *errors, papers]


if __name__ == "__main__":
    main()
