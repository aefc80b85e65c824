"""Far fewer bytes at the same accuracy: each way to send less at the best of as many rates as exact sums have.

Two workers train a convolutional net on CIFAR-10, a network from words to phonemes, and a small GPT. Rates
are chosen on validation data with a seed of its own; then three seeds are tested. Bytes are what the kernel
has sent of a rank's gradients or changes. Each run is a row of `fewer_bytes.csv`, which a repeated command
completes, so it can be stopped at any time; the table goes to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from page import tell, write_table
from PIL import Image

import firetree
from firetree import own_code
from firetree.bench.accuracy import way_fields
from firetree.durable import write_durably
from firetree.errors import RunFailedError
from points import known_or_made, least, read

HERE = Path(__file__).parent
POINTS = HERE / "fewer_bytes.csv"
RUNS = HERE.parent / "runs" / "fewer-bytes"
WORKERS = 2
SEEDS, SEARCH_SEED = (0, 1, 2), 100
AHEAD, EXACT = "+ahead", "gloo"
WAYS = (
    EXACT,
    f"{EXACT}+sparseloco:0.04:1{AHEAD}",
    f"{EXACT}+turns:25{AHEAD}",
    f"{EXACT}+turns:2+local:16{AHEAD}",
)
NEVER = 10**9


@dataclass(frozen=True)
class Task:
    """What is trained, by which fields beside the recipe's, and the rates that every way tries."""

    recipe: str
    fields: Mapping[str, Any]
    rates: tuple[float, ...]
    data: Callable[[str, Path], dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One run."""

    task: str
    way: str
    rate: float
    seed: int
    split: str


@dataclass(frozen=True)
class Point(Cell):
    """What it came to: the loss, the accuracy in percent (empty where there is none), and bytes sent."""

    loss: float
    top1: str
    rank_sent_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tasks", default=",".join(TASKS))
    options = parser.parse_args()
    for task in options.tasks.split(","):
        for rate in TASKS[task].rates:
            for way in WAYS:
                done(Cell(task, way, rate, SEARCH_SEED, "validation"), options.shared)
        best = {it.way: it for it in best_of(read(POINTS, Point), task)}
        for seed in SEEDS:
            for way in WAYS:
                done(Cell(task, way, best[way].rate, seed, "test"), options.shared)
        tabulate()


def done(cell: Cell, shared: Path) -> Point:
    """The cell's point: from the file, or else from a run."""
    return known_or_made(POINTS, Point, cell, partial(run, cell, shared))


def run(cell: Cell, shared: Path) -> Point:
    tell(str(cell))
    task = TASKS[cell.task]
    folder = RUNS / "-".join(map(str, asdict(cell).values())).replace(":", "_")
    shutil.rmtree(folder, ignore_errors=True)
    own_code.look_in(HERE)
    fields = {
        "optim.clip_norm": None,
        "evaluate_epochs": NEVER,
        "checkpoint_steps": NEVER,
        **task.fields,
        **task.data(cell.split, shared),
        **way_fields(cell.way.removesuffix(AHEAD))[1],
        "sync.step_ahead": cell.way.endswith(AHEAD),
        "optim.lr": cell.rate,
        "seed": cell.seed,
    }
    trained = firetree.train(
        task.recipe, workers=WORKERS, run_dir=folder, fields=fields, trust=True, progress=tell
    )
    last = trained.evaluations[-1]
    point = Point(
        **asdict(cell),
        loss=round(last.test_loss, 4),
        top1="" if last.accuracy is None else f"{100 * last.accuracy:.2f}",
        rank_sent_bytes=sent_bytes(trained),
    )
    shutil.rmtree(folder)
    return point


def sent_bytes(trained: firetree.Run) -> int:
    """What the rank that sent most has sent in all steps, by the kernel's count."""
    ranks = trained.trace().ranks
    if any(rank.header.bytes_counted_by != "kernel" for rank in ranks):
        raise RunFailedError(f"the bytes of {trained} were not counted by the kernel")
    return max(sum(step.sent_bytes * step.count for step in rank.steps) for rank in ranks)


def best_of(points: Sequence[Point], task: str) -> list[Point]:
    """Of each way the run with the least loss on validation data."""
    tried = [it for it in points if (it.task, it.split) == (task, "validation")]
    return [*least(tried, lambda it: it.way, lambda it: it.loss).values()]


def tabulate() -> None:
    write_table(
        "Far fewer bytes",
        "python reproduce/fewer_bytes.py",
        f"{WORKERS} workers. `validation`: one seed, the best of the one to three rates tried so far; `test`: three other "
        "seeds at the best of three rates, the median (least to most). Lost: points of accuracy, of the GPT "
        "percent of the loss. Bytes: what a rank sends in a step, by the kernel's count; `gloo` is Gloo's "
        "all-reduce. `ahead`: `sync.step_ahead`.",
        [*table(read(POINTS, Point))],
    )


def table(points: Sequence[Point]) -> Iterator[list[str]]:
    yield ["task", "way", "data", "rate", "seeds", "top-1", "loss", "lost", "bytes", "× fewer"]
    for task in TASKS:
        searched = {it.way: [it] for it in best_of(points, task)}
        tested = {
            way: [it for it in points if (it.task, it.way, it.split) == (task, way, "test")]
            for way in WAYS
        }
        for split, found in ("validation", searched), ("test", tested):
            for way, mine in sorted(found.items(), key=lambda it: it[0] != EXACT):
                if mine:
                    yield [task, way, split, *row(found[EXACT], mine, STEPS[task])]


def row(exact: Sequence[Point], mine: Sequence[Point], steps: int) -> Iterator[str]:
    """What a way came to, beside exact sums."""
    losses, top1 = [it.loss for it in mine], [float(it.top1) for it in mine if it.top1]
    sent_bytes = median(it.rank_sent_bytes for it in mine)
    yield f"{mine[0].rate:g}"
    yield f"{len(mine)}"
    yield spread(top1, 2) if top1 else ""
    yield spread(losses, 3)
    if top1:
        yield f"{median(float(it.top1) for it in exact) - median(top1):.2f}"
    else:
        yield f"{100 * (median(losses) / median(it.loss for it in exact) - 1):.2f}"
    yield f"{sent_bytes / steps:,.0f}"
    yield f"{median(it.rank_sent_bytes for it in exact) / sent_bytes:.0f}"


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and of several the least and the most."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    parts = (f"{it:.{digits}f}" for it in (median(values), min(values), max(values)))
    return "{} ({} to {})".format(*parts)


def images(split: str, shared: Path) -> dict[str, Any]:
    """CIFAR-10 as arrays; the last tenth of the training images is for validation."""
    file = RUNS / "data" / f"cifar10-{split}.npz"
    if not file.exists():
        train, test = (
            pq.read_table(shared / "cifar10" / f"{name}-00000-of-00001.parquet").to_pylist()
            for name in ("train", "test")
        )
        held_out = train[45_000:] if split == "validation" else test
        arrays: dict[str, Any] = {}
        for name, rows in (("train", train[:45_000]), ("test", held_out)):
            pixels = [np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows]
            arrays[f"{name}_x"] = np.stack(pixels)
            arrays[f"{name}_y"] = np.array([row["label"] for row in rows])
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, packed.getvalue())
    return {"data.path": str(file)}


def words(split: str, shared: Path) -> dict[str, Any]:
    return {"data.path": str(shared / "cmudict" / "cmudict.dict.gz"), "data.held_out": split}


def text(split: str, shared: Path) -> dict[str, Any]:
    """The English half of Multi30k."""
    folder = RUNS / "data" / f"multi30k-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    held_out = "val" if split == "validation" else "test_2016_flickr"
    for name, source in (("train", "train"), ("test", held_out)):
        packed = (shared / "multi30k" / f"{source}.en.gz").read_bytes()
        write_durably(folder / f"{name}.txt", gzip.decompress(packed))
    return {"data.path": str(folder)}


STEPS = {"CIFAR-10": 704, "phonemes": 800, "GPT": 800}
TASKS = {
    "CIFAR-10": Task(
        "cifar-squeezenet",
        {
            "model.name": "plain_convnet:convnet",
            "data.name": "npz",
            "data.crop_padding": 0,
            "optim.steps": STEPS["CIFAR-10"],
            "optim.nesterov": True,
            "optim.weight_decay": 5e-4,
            "optim.warmup_epochs": 0.2,
        },
        (0.025, 0.05, 0.1),
        images,
    ),
    "phonemes": Task(
        "phonemes",
        {
            "model.hidden": 64,
            "model.dropout": 0.0,
            "data.test_fraction": 0.05,
            "optim.batch_size": 64,
            "optim.steps": STEPS["phonemes"],
            "optim.warmup_epochs": 0.05,
        },
        (0.0025, 0.005, 0.01),
        words,
    ),
    "GPT": Task(
        "gpt",
        {
            "model.layers": 2,
            "model.dropout": 0.0,
            "data.length": 32,
            "data.pieces": 512,
            "optim.batch_size": 16,
            "optim.steps": STEPS["GPT"],
            "optim.warmup_epochs": 0.1,
        },
        (0.0015, 0.003, 0.006),
        text,
    ),
}


if __name__ == "__main__":
    main()
