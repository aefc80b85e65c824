"""Fast weights in place of attention: words to phonemes, and English to German, at equal parameters.

An LSTM alone is a decoder that knows the encoder's last state only; with attention it sees all of
them. How much of the gap between the two do fast weights and the delta rule close, which hold them in
a matrix? All models have about as many parameters and do the same number of updates, each at the best
of the same rates on validation pairs. Each cell that is done is a row of `sequence_to_sequence.csv`,
and one that was cut off goes on where it was, so that the table can grow over several sittings:

    python reproduce/sequence_to_sequence.py --data phonemes --seeds 0
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from page import tell, write_lines

from firetree.errors import RunFailedError
from firetree.launch import FIRETREE
from firetree.training import load_recipe, with_fields
from firetree.training.apart import log_of, train_apart
from points import known_or_made, least, part, read

HERE = Path(__file__).parent
POINTS = HERE / "sequence_to_sequence.csv"
TABLE = HERE / "sequence_to_sequence.md"
RUNS = HERE.parent / "runs" / "sequence_to_sequence"

MODELS = ("lstm", "attention", "transformer", "fast_weights", "delta")
PATHS = {"phonemes": "cmudict/cmudict.dict.gz", "translation": "multi30k"}
BEAM = 4
RATES = (0.002, 0.005, 0.0125, 0.03)
SEARCH_SEED, SEARCH_PART = 100, 4


@dataclass(frozen=True)
class Budget:
    """What all networks have for a task."""

    data: str
    parameters: int
    updates: int


BUDGETS = (Budget("phonemes", 250_000, 3_796), Budget("translation", 1_000_000, 2_270))
"""Four epochs, and ten."""


@dataclass(frozen=True)
class Cell(Budget):
    """One run of the trainer."""

    model: str
    seed: int
    rate: float
    held_out: str


@dataclass(frozen=True)
class Point(Cell):
    """What it came to: `test_loss` is that of a symbol held out; what does not apply is empty."""

    symbols_per_s: int
    test_loss: float
    phoneme_error_percent: str
    word_error_percent: str
    bleu: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(PATHS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    for budget in BUDGETS:
        if budget.data not in options.data.split(","):
            continue
        for seed in map(int, options.seeds.split(",")):
            for model in options.models.split(","):
                rate = best_rate(budget, model, options.shared)
                done(
                    Cell(**asdict(budget), model=model, seed=seed, rate=rate, held_out="test"),
                    options.shared,
                )
                write_lines(TABLE, table(read(POINTS, Point)))


def best_rate(budget: Budget, model: str, shared: Path) -> float:
    """Of `RATES` the best one on validation pairs after a short run."""
    short = replace(budget, updates=budget.updates // SEARCH_PART)
    for rate in RATES:
        cell = Cell(
            **asdict(short), model=model, seed=SEARCH_SEED, rate=rate, held_out="validation"
        )
        done(cell, shared)
    return searched(read(POINTS, Point), budget)[model]


def done(cell: Cell, shared: Path) -> Point:
    """The cell's point: from the file, or else from a run."""
    return known_or_made(POINTS, Point, cell, partial(run, cell, shared))


def run(cell: Cell, shared: Path) -> Point:
    tell(str(cell))
    folder = RUNS / "-".join(map(str, asdict(cell).values()))
    recipe = load_recipe(cell.data)
    fields = {
        "data.path": str(shared / PATHS[cell.data]),
        "data.held_out": cell.held_out,
        "model.name": f"seq2seq_{cell.model}",
        "model.parameters": cell.parameters,
        "optim.steps": cell.updates,
        "optim.lr": cell.rate,
        "seed": cell.seed,
        "keep_checkpoints": 1,
        "checkpoint_steps": 500,
    }
    if cell.held_out == "validation":
        fields["optim.warmup_epochs"] = recipe.optim.warmup_epochs / SEARCH_PART
    if train_apart(with_fields(recipe, fields), folder, environ=one_thread()):
        raise RunFailedError(f"{cell} ended early; {log_of(folder)} says why")
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    scores = scored(folder) if cell.held_out == "test" else {}
    shutil.rmtree(folder)
    return Point(
        **asdict(cell),
        symbols_per_s=round(last["samples_per_s"]),
        test_loss=round(last["test_loss"], 4),
        **{
            name: "" if scores.get(name) is None else f"{scores[name]:.2f}"
            for name in ("phoneme_error_percent", "word_error_percent", "bleu")
        },
    )


def scored(folder: Path) -> dict[str, float | None]:
    """What `firetree predict --labels` says of a run."""
    command = [*FIRETREE, "predict", str(folder), "--labels", "--beam", str(BEAM), "--json"]
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **one_thread()}
    )
    scores: dict[str, float | None] = json.loads(said.stdout)
    return scores


def one_thread() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1"}


def table(points: Sequence[Point]) -> Iterator[str]:
    """For each budget that has points a table of medians over the seeds that are done."""
    for budget in BUDGETS:
        rates = searched(points, budget)
        some = [
            point
            for point in points
            if part(point, Budget) == budget and point.rate == rates.get(point.model, point.rate)
        ]
        if not some:
            continue
        measures = {"bleu": "BLEU"}
        if budget.data == "phonemes":
            measures = {
                "phoneme_error_percent": "phoneme error %",
                "word_error_percent": "word error %",
            }
        yield (
            f"**{budget.data}**, {budget.parameters:,} parameters, {budget.updates:,} updates of 128 "
            f"pairs, beam {BEAM}"
        )
        yield ""
        heading = (
            "model",
            "rate",
            "seeds",
            *measures.values(),
            "gap closed",
            "test loss",
            "symbols/s",
        )
        yield "| " + " | ".join(heading) + " |"
        yield "|---" * len(heading) + "|"
        first = next(iter(measures))
        values = {model: middle(some, model, first) for model in MODELS}
        for model in MODELS:
            own = [point for point in some if point.model == model]
            if not own:
                continue
            row = [model, f"{own[0].rate:g}", str(len(own))]
            row += [f"{middle(some, model, measure):.2f}" for measure in measures]
            row += [closed(values, model)]
            row += [f"{middle(some, model, 'test_loss'):.3f}"]
            row += [f"{middle(some, model, 'symbols_per_s'):,.0f}"]
            yield "| " + " | ".join(row) + " |"
        yield ""


def searched(points: Sequence[Point], budget: Budget) -> dict[str, float]:
    """Of each model whose rates are tried the one with the least loss."""
    tried = [p for p in points if (p.data, p.held_out) == (budget.data, "validation")]
    best = least(tried, lambda point: point.model, lambda point: point.test_loss)
    return {model: point.rate for model, point in best.items()}


def middle(points: Sequence[Point], model: str, measure: str) -> float:
    """The median over a model's seeds; NaN where there is none."""
    own = [float(getattr(point, measure)) for point in points if point.model == model]
    return median(own) if own else float("nan")


def closed(values: dict[str, float], model: str) -> str:
    """How much of the gap between the LSTM without attention and with it a model closes."""
    without, attending = values["lstm"], values["attention"]
    if without == attending or without != without or attending != attending:
        return ""
    share = (values[model] - without) / (attending - without)
    return f"{share + 0.0:.0%}"  # 0, not −0


if __name__ == "__main__":
    main()
