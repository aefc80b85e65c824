"""What large batches cost in accuracy, without and with the rules that are to prevent it.

A small SqueezeNet of half the width, images of half the size, the same number of epochs at every batch
size; rates are chosen with a seed of their own and half the epochs, for the small batch, and for each
rule at the largest batch. Each accuracy is a line of `large_batches.csv`, which a
repeated command completes; the table goes to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from page import write_table

from firetree.sweeps import SweepTrial, train_all
from firetree.training import load_recipe, with_fields
from points import add, read

POINTS = Path(__file__).with_suffix(".csv")
RUNS = Path("runs/large-batches")
JOBS = 2
SMALL = 64
SEEDS = (0, 1, 2)
TUNING_SEED, TUNING_PART = 100, 0.5
RATES = {
    "none": (0.025, 0.05, 0.1, 0.2),
    "linear": (0.00625, 0.0125, 0.025),
    "sqrt": (0.025, 0.05, 0.1),
    "lars": (0.1, 0.2, 0.4, 0.8),
    "lamb": (0.004, 0.008, 0.016),
    "adam": (0.00125, 0.0025, 0.005, 0.01),
}
"""For a batch of SMALL; the rules make them larger. `adam` is the square root with Adam."""
RULES = tuple(RATES)


@dataclass(frozen=True)
class Point:
    """A trial, and its test accuracy (0 to 1)."""

    name: str
    top1: float


@dataclass(frozen=True)
class Case:
    """A data set, and what is trained on it."""

    recipe: str
    data: str
    size: int
    epochs: int
    batches: tuple[int, ...]
    batch_norm: bool = True


PLAIN = "Fashion-MNIST without normalisation"
CASES = {
    "Fashion-MNIST": Case("fashion-squeezenet", "fashion.npz", 14, 6, (256, 512, 1024, 4096)),
    "CIFAR-10": Case("cifar-squeezenet", "cifar10", 16, 6, (256, 512, 1024, 2048)),
    PLAIN: Case("fashion-squeezenet", "fashion.npz", 14, 6, (256, 1024, 4096), batch_norm=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("cases", nargs="*", default=[*CASES])
    options = parser.parse_args()
    headings = ["batch", "rule", "rate for 64", "top-1 of three seeds", "lost, points"]
    for name in options.cases:
        text = (
            f"Images of half the size, {CASES[name].size}×{CASES[name].size}. Median (least to most) of "
            f"three seeds after {CASES[name].epochs} epochs at every batch size; `none` keeps the small "
            "batch's rate, without a warm-up; `adam` is Adam with the square root."
        )
        command = f"python reproduce/large_batches.py '{name}'"
        rows = table(name, options.data)
        write_table(f"Large batches: {name}", command, text, [headings, *rows])


def table(name: str, data: Path) -> Iterator[list[str]]:
    """The rows of a case: the small batch, then every rule at the largest, the best one at the others."""
    *middle, largest = CASES[name].batches
    rates = tuned(name, data)

    def found(cells: Sequence[tuple[int, str]]) -> list[list[float]]:
        trials = [
            trial(name, data, *cell, rates[cell[1]], seed) for cell in cells for seed in SEEDS
        ]
        flat = accuracies(trials)
        return [flat[at : at + len(SEEDS)] for at in range(0, len(flat), len(SEEDS))]

    at_largest = [(largest, rule) for rule in RULES]
    [small, *others] = found([(SMALL, "none"), *at_largest])
    best = max(zip(others, RULES, strict=True), key=lambda pair: median(pair[0]))[1]
    between = [(batch, rule) for batch in middle for rule in ("none", best)]
    all_cells = [(SMALL, "none"), *between, *at_largest]
    for cell, some in zip(all_cells, [small, *found(between), *others], strict=True):
        yield row(*cell, rates[cell[1]], some, small)


def tuned(name: str, data: Path) -> dict[str, float]:
    """Each rule's rate with which the tuning seed ends best: at the largest batch, `none` at the small."""
    largest = CASES[name].batches[-1]
    trials = [
        trial(
            name, data, SMALL if rule == "none" else largest, rule, rate, TUNING_SEED, TUNING_PART
        )
        for rule, rates in RATES.items()
        for rate in rates
    ]
    found = iter(accuracies(trials))
    return {rule: max((next(found), rate) for rate in rates)[1] for rule, rates in RATES.items()}


def accuracies(trials: Sequence[SweepTrial]) -> list[float]:
    """The test accuracy (0 to 1) of each; a run whose loss was no number has learnt nothing."""
    known = {point.name: point.top1 for point in read(POINTS, Point)}
    missing = [trial for trial in trials if trial.name not in known]
    for at in range(0, len(missing), JOBS):
        results = train_all(missing[at : at + JOBS], RUNS, JOBS, print)
        points = [Point(result.trial.name, result.accuracy or 0.0) for result in results]
        add(POINTS, points)
        known |= {point.name: point.top1 for point in points}
    return [known[trial.name] for trial in trials]


def trial(
    name: str, data: Path, batch: int, rule: str, rate: float, seed: int, part: float = 1.0
) -> SweepTrial:
    """A training of this part of the case's epochs."""
    case = CASES[name]
    epochs = round(case.epochs * part)
    values = {
        "data.size": case.size,
        "model.base_e": 24,
        "model.incr_e": 24,
        "model.batch_norm": str(case.batch_norm).lower(),
        "optim.batch_size": batch,
        "optim.accumulate": max(1, batch // 128),
        "optim.batch_rule": "sqrt" if rule == "adam" else rule,
        "optim.optimizer": "adam" if rule == "adam" else "sgd",
        "optim.base_batch": SMALL,
        "optim.lr": rate,
        "optim.epochs": epochs,
        "optim.warmup_epochs": 0.0 if rule == "none" else 1.0,
        "optim.rule": "cosine",
        "seed": seed,
        "evaluate_epochs": epochs,
        "checkpoint_steps": 1_000_000,
        "keep_best": False,
    }
    texts = {field: str(value) for field, value in values.items()}
    recipe = with_fields(load_recipe(case.recipe), texts | {"data.path": str(data / case.data)})
    net = f"{case.recipe}-norm" if case.batch_norm else case.recipe
    return SweepTrial(f"{net}-{case.size}-{epochs}-{batch}-{rule}-{rate}-{seed}", texts, recipe)


def row(batch: int, rule: str, rate: float, found: list[float], small: list[float]) -> list[str]:
    spread = f"{median(found):.2%} ({min(found):.2%} to {max(found):.2%})"
    lost = 100 * (median(small) - median(found))
    return [f"{batch:,}", rule, f"{rate:g}", spread, f"{lost:.2f}"]


if __name__ == "__main__":
    main()
