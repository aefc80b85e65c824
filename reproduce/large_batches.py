"""What large batches cost in accuracy, without and with the rules that are to prevent it.

A small SqueezeNet of half the width, the same number of epochs at every batch size; rates are chosen
with a seed of their own, for the small batch, and for each rule at the largest batch. Runs are kept in
`runs/large-batches`, which a repeated command completes; the table goes to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from page import write_table

from firetree.sweep import Trial, train_all
from firetree.train import load_recipe, with_fields

RUNS = Path("runs/large-batches")
SMALL = 64
SEEDS = (0, 1, 2)
TUNING_SEED = 100
PLAIN_RATES = (0.025, 0.05, 0.1)
RATES = {
    "linear": PLAIN_RATES,
    "sqrt": PLAIN_RATES,
    "lars": (0.05, 0.1, 0.2),
    "lamb": (0.001, 0.002, 0.004),
}
"""For a batch of SMALL; the rules make them larger."""


@dataclass(frozen=True)
class Case:
    """A data set, and what is trained on it."""

    recipe: str
    data: str
    epochs: int
    batches: tuple[int, ...]


CASES = {
    "Fashion-MNIST": Case("fashion-squeezenet", "fashion.npz", 8, (256, 1024, 4096)),
    "CIFAR-10": Case("cifar-squeezenet", "cifar10", 8, (512, 2048)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("cases", nargs="*", default=[*CASES])
    options = parser.parse_args()
    rows = [row for name in options.cases for row in table(name, options.data)]
    headings = ["data", "batch", "rule", "rate for 64", "top-1 of three seeds", "lost, points"]
    text = (
        "Median (least to most) of three seeds after equal epochs "
        f"({', '.join(f'{case.epochs} on {name}' for name, case in CASES.items())}); `none` keeps the "
        "small batch's rate, without a warm-up."
    )
    write_table("Large batches", "python reproduce/large_batches.py", text, [headings, *rows])


def table(name: str, data: Path) -> Iterator[list[str]]:
    """The rows of a case: the small batch, then every rule at the largest, the best one at the others."""
    largest = CASES[name].batches[-1]
    plain_rate = tuned(name, data, SMALL, "none", PLAIN_RATES)
    small = accuracies(name, data, SMALL, "none", plain_rate)
    yield cells(name, SMALL, "none", plain_rate, small, small)
    rates = {"none": plain_rate}
    rates |= {rule: tuned(name, data, largest, rule, few) for rule, few in RATES.items()}
    at_largest = {rule: accuracies(name, data, largest, rule, rate) for rule, rate in rates.items()}
    best = max(at_largest, key=lambda rule: median(at_largest[rule]))
    for batch in CASES[name].batches[:-1]:
        for rule in ("none", best):
            found = accuracies(name, data, batch, rule, rates[rule])
            yield cells(name, batch, rule, rates[rule], found, small)
    for rule, found in at_largest.items():
        yield cells(name, largest, rule, rates[rule], found, small)


def tuned(name: str, data: Path, batch: int, rule: str, rates: tuple[float, ...]) -> float:
    """The rate with which the tuning seed ends best."""
    found = run([trial(name, data, batch, rule, rate, TUNING_SEED) for rate in rates])
    return rates[found.index(max(found))]


def accuracies(name: str, data: Path, batch: int, rule: str, rate: float) -> list[float]:
    """The test accuracies (0 to 1) of all seeds."""
    return run([trial(name, data, batch, rule, rate, seed) for seed in SEEDS])


def run(trials: list[Trial]) -> list[float]:
    """The accuracy of each; a run whose loss was no number has learnt nothing."""
    return [result.accuracy or 0.0 for result in train_all(trials, RUNS, 2, print)]


def trial(name: str, data: Path, batch: int, rule: str, rate: float, seed: int) -> Trial:
    case = CASES[name]
    values = {
        "model.base_e": 24,
        "model.incr_e": 24,
        "optim.batch_size": batch,
        "optim.accumulate": max(1, batch // 128),
        "optim.batch_rule": rule,
        "optim.base_batch": SMALL,
        "optim.lr": rate,
        "optim.epochs": case.epochs,
        "optim.warmup_epochs": 0.0 if rule == "none" else 1.0,
        "optim.rule": "cosine",
        "seed": seed,
        "evaluate_epochs": case.epochs,
        "checkpoint_steps": 1_000_000,
    }
    texts = {field: str(value) for field, value in values.items()}
    recipe = with_fields(load_recipe(case.recipe), texts | {"data.path": str(data / case.data)})
    return Trial(f"{case.recipe}-{case.epochs}-{batch}-{rule}-{rate}-{seed}", texts, recipe)


def cells(
    name: str, batch: int, rule: str, rate: float, found: list[float], small: list[float]
) -> list[str]:
    spread = f"{median(found):.2%} ({min(found):.2%} to {max(found):.2%})"
    lost = 100 * (median(small) - median(found))
    return [name, f"{batch:,}", rule, f"{rate:g}", spread, f"{lost:.2f}"]


if __name__ == "__main__":
    main()
