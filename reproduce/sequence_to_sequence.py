"""Fast weights in place of attention: words to phonemes, and English to German, at equal parameters.

An LSTM alone is a decoder that knows the encoder's last state only; with attention it sees all of
them. How much of the gap between the two do fast weights and the delta rule close, which hold them in
a matrix? All models have about as many parameters, and do the same number of updates at the same rate.
Each cell that is done is a row of `sequence_to_sequence.csv`, and one that was cut off goes on where
it was, so that the table can grow over several sittings:

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
from pathlib import Path
from statistics import median

from page import tell
from points import add, part, read

from firetree.errors import RunFailedError
from firetree.train.apart import FIRETREE, log_of, train_apart

HERE = Path(__file__).parent
POINTS = HERE / "sequence_to_sequence.csv"
TABLE = HERE / "sequence_to_sequence.md"
RUNS = HERE.parent / "runs" / "sequence_to_sequence"

MODELS = ("lstm", "attention", "transformer", "fast_weights", "delta")
PATHS = {"phonemes": "cmudict/cmudict.dict.gz", "translation": "multi30k"}
BEAM = 4
RATE = 0.002


@dataclass(frozen=True)
class Cell:
    """One run of the trainer."""

    data: str
    model: str
    seed: int
    parameters: int
    updates: int


@dataclass(frozen=True)
class Point(Cell):
    """What it came to: `test_loss` is that of a symbol; what does not apply is empty."""

    symbols_per_s: int
    test_loss: float
    phoneme_error_percent: str
    word_error_percent: str
    bleu: str


BUDGETS = (
    Cell("phonemes", "", 0, parameters=250_000, updates=3_796),
    Cell("translation", "", 0, parameters=1_000_000, updates=2_270),
)
"""Four epochs, and ten."""


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
                cell = replace(budget, model=model, seed=seed)
                if cell not in [part(point, Cell) for point in read(POINTS, Point)]:
                    add(POINTS, [run(cell, options.shared)])
                TABLE.write_text("\n".join(table(read(POINTS, Point))) + "\n", encoding="utf-8")


def run(cell: Cell, shared: Path) -> Point:
    tell(str(cell))
    folder = RUNS / "-".join(map(str, asdict(cell).values()))
    options = ["--data.path", str(shared / PATHS[cell.data])]
    options += ["--model.name", f"seq2seq_{cell.model}"]
    options += ["--model.parameters", str(cell.parameters)]
    options += ["--optim.steps", str(cell.updates), "--optim.lr", str(RATE)]
    options += ["--seed", str(cell.seed), "--keep-checkpoints", "1", "--checkpoint-steps", "500"]
    if train_apart(cell.data, folder, options, environ=one_thread()):
        raise RunFailedError(f"{cell} ended early; {log_of(folder)} says why")
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    command = [*FIRETREE, "predict", str(folder), "--labels", "--beam", str(BEAM), "--json"]
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **one_thread()}
    )
    scores = json.loads(said.stdout)
    shutil.rmtree(folder)
    return Point(
        **asdict(cell),
        symbols_per_s=round(last["samples_per_s"]),
        test_loss=round(last["test_loss"], 4),
        **{
            name: "" if scores[name] is None else f"{scores[name]:.2f}"
            for name in ("phoneme_error_percent", "word_error_percent", "bleu")
        },
    )


def one_thread() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1"}


def table(points: Sequence[Point]) -> Iterator[str]:
    """For each budget that has points a table of medians over the seeds that are done."""
    for budget in BUDGETS:
        some = [point for point in points if replace(part(point, Cell), model="", seed=0) == budget]
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
        heading = ("model", "seeds", *measures.values(), "gap closed", "test loss", "symbols/s")
        yield "| " + " | ".join(heading) + " |"
        yield "|---" * len(heading) + "|"
        first = next(iter(measures))
        values = {model: middle(some, model, first) for model in MODELS}
        for model in MODELS:
            own = [point for point in some if point.model == model]
            if not own:
                continue
            row = [model, str(len(own))]
            row += [f"{middle(some, model, measure):.2f}" for measure in measures]
            row += [closed(values, model)]
            row += [f"{middle(some, model, 'test_loss'):.3f}"]
            row += [f"{middle(some, model, 'symbols_per_s'):,.0f}"]
            yield "| " + " | ".join(row) + " |"
        yield ""


def middle(points: Sequence[Point], model: str, measure: str) -> float:
    """The median over a model's seeds; NaN where there is none."""
    own = [float(getattr(point, measure)) for point in points if point.model == model]
    return median(own) if own else float("nan")


def closed(values: dict[str, float], model: str) -> str:
    """How much of the gap between the LSTM without attention and with it a model closes."""
    without, attending = values["lstm"], values["attention"]
    if without == attending or without != without or attending != attending:
        return ""
    return f"{(without - values[model]) / (without - attending):.0%}"


if __name__ == "__main__":
    main()
