"""Accuracy against bytes: every compression, and local steps, over four workers on Fashion-MNIST.

All train the same epochs in the lab, whose network is fast here: only bytes and accuracy count. Needs
root, `ip` and `tc`. Runs are kept in `runs/every-compression`, which a repeated command completes; the table
goes to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from page import tell, write_table

from firetree.bench import AccuracyRun, time_to_accuracy

EPOCHS, SIZE, SEEDS = 3, 14, 3
WAYS = (
    "ring",
    "ring+fp16",
    "ring+int8",
    "ring+topk:0.01",
    "ring+powersgd:2",
    "ring+local:4",
    "ring+local:16",
    "ring+int8+local:4",
    "ring+int8+local:16",
    "ring+diloco:64",
)
NEVER = 1.0
"""A target that no run reaches, so that all run to the end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    fields = {"data.path": str(data / "fashion.npz"), "data.size": SIZE}
    fields |= {"optim.epochs": EPOCHS, "model.base_e": 24, "model.incr_e": 24}
    runs = time_to_accuracy(
        ["fashion-squeezenet"],
        target=NEVER,
        ways=WAYS,
        network="4 x 1gbit",
        seeds=SEEDS,
        runs="runs/every-compression",
        fields=fields,
        progress=tell,
    )
    write_table(
        "Accuracy against bytes",
        "python reproduce/every_compression.py",
        f"`fashion-squeezenet` of half the width at {SIZE}×{SIZE} pixels for {EPOCHS} epochs on four "
        f"workers: top-1 accuracy (median, least to most of {SEEDS} seeds), and what all workers "
        "sent, all at the uncompressed run's learning rate.",
        [*table(runs)],
    )


def table(runs: Sequence[AccuracyRun]) -> Iterator[list[str]]:
    yield ["way", "top-1", "lost, points", "MB sent", "× fewer bytes"]
    plain = [run for run in runs if run.way == WAYS[0]]
    for way in WAYS:
        mine = [run for run in runs if run.way == way]
        found = sorted(run.accuracy for run in mine)
        lost = median(run.accuracy for run in plain) - median(found)
        sent_bytes = median(run.sent_bytes for run in mine)
        yield [
            way,
            f"{median(found):.2%} ({found[0]:.2%} to {found[-1]:.2%})",
            f"{100 * lost:.2f}",
            f"{sent_bytes / 1e6:.1f}",
            f"{median(run.sent_bytes for run in plain) / sent_bytes:.1f}",
        ]


if __name__ == "__main__":
    main()
