"""How many pairs each model recalls: error on multi-query recall of 4 to 64 pairs, at equal parameters.

All pairs are asked for, so chance is an error of 1 − 1/(2·pairs). Every model has as many units as give
it PARAMETERS in its recurrent layer and behind it, and does STEPS of the same batches at the
recipe's learning rate, which is not searched. What is done is kept in `longer_memories.csv`; the table
goes to `reproduce/RESULTS.md`, the image to `docs/figures/longer-memories.png`. Forty minutes on one
core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cells import Row, done, error
from matplotlib.figure import Figure
from page import save_figure, write_table

from firetree.models import parameter_count
from firetree.models.recurrent import EMBEDDING, HEAD, build_layer
from points import rows

TABLE = Path(__file__).with_name("longer_memories.csv")
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "longer-memories.png"
MODELS: dict[str, dict[str, object]] = {
    "irnn": {},
    "lstm": {},
    "gru": {},
    "associative_lstm": {},
    "fast_weights": {},
    "lasting_fast_weights": {"model.name": "fast_weights", "model.decay": 1, "model.rate": 0.1},
    "delta": {},
}
"""With fields of the recipe's. Lasting ones do not fade, with the λ and η of sequence to sequence."""
PAIRS = (4, 8, 16, 32, 64)
PARAMETERS = 31_000
STEPS = 1500
QUERIES = 512
"""In each batch."""
MOST_PAIRS = {"associative_lstm": 16}
"""Of models that would take longer than all others together beyond."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--pairs", default=",".join(map(str, PAIRS)))
    options = parser.parse_args()
    for pairs in map(int, options.pairs.split(",")):
        for model in options.models.split(","):
            if pairs <= MOST_PAIRS.get(model, pairs):
                run(model, pairs)
                write([row for row in rows(TABLE) if row["steps"] == str(STEPS)])


def run(model: str, pairs: int) -> None:
    batch, units = QUERIES // pairs, units_of(model)
    values: dict[str, object] = {
        "model.name": model,
        "model.hidden": units,
        "data.pairs": pairs,
        "data.held_out": "validation",
        "optim.batch_size": batch,
        "optim.steps": STEPS,
        "evaluate_epochs": STEPS,
        "checkpoint_steps": 500,
    }
    cell = {"model": model, "units": units, "pairs": pairs, "steps": STEPS, "batch": batch}
    done(TABLE, cell, "multi-query-recall", values | MODELS[model])


def units_of(model: str) -> int:
    """The even number of units with which the layer and the head's first map have most of PARAMETERS."""
    name = str(MODELS[model].get("model.name", model))

    def parameters(units: int) -> int:
        return parameter_count(build_layer(name, EMBEDDING, units)) + units * HEAD

    return max(units for units in range(2, 256, 2) if parameters(units) <= PARAMETERS)


def write(found: list[Row]) -> None:
    minutes = sum(float(row["cpu_s"]) for row in found) / 60
    known = {(row["model"], int(row["pairs"])): error(row) for row in found}
    body = [
        [model, str(units_of(model)), *(known.get((model, pairs), "") for pairs in PAIRS)]
        for model in MODELS
    ]
    chance = [f"{100 - 50 / pairs:.2f}" for pairs in PAIRS]
    write_table(
        "Longer memories",
        "python reproduce/longer_memories.py",
        f"Error in % on 10,000 held-out sequences of multi-query recall after {STEPS:,} steps of "
        f"{QUERIES:,} queries, one seed, a learning rate of 0.002 for all, {PARAMETERS:,} parameters in the "
        f"layer and behind it; {minutes:.0f} minutes of one core in all. Lasting fast weights have λ = 1 and "
        "η = 0.1 instead of 0.95 and 0.5. "
        "[Image](../docs/figures/longer-memories.png).",
        [
            ["model", "units", *(f"{pairs} pairs" for pairs in PAIRS)],
            *body,
            ["chance", "", *chance],
        ],
    )
    save_figure(drawn(found), FIGURE)


def drawn(found: list[Row]) -> Figure:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for model in MODELS:
        mine = [row for row in found if row["model"] == model and row["error_percent"]]
        mine.sort(key=lambda row: int(row["pairs"]))
        errors = [float(row["error_percent"]) for row in mine]
        axes.plot([int(row["pairs"]) for row in mine], errors, marker="o", label=model)
    axes.plot(PAIRS, [100 - 50 / pairs for pairs in PAIRS], "k:", label="chance")
    axes.set_xscale("log", base=2)
    axes.set_xticks(PAIRS, [str(pairs) for pairs in PAIRS])
    axes.set(xlabel="pairs to be remembered", ylabel="error, %", ylim=(-2, 102))
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
