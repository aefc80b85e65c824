"""Benchmarks as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from firetree.bench import AccuracyRun, Measurement, StepRow
from firetree.commands import tables
from firetree.network.units import format_bytes


def allreduce_text(rows: Sequence[Measurement]) -> str:
    """A table, ordered by world size, buffer size and time."""
    headings = ["ranks", "size", "algorithm", "chunks", "ms", "least to most"]
    headings += ["× Gloo", "× optimum", "CPU ms"]
    predicted = any(row.predicted_s is not None for row in rows)
    ordered = sorted(rows, key=lambda row: (row.world_size, row.size_bytes, row.median_s))
    cells = [_cells(row)[: None if predicted else len(headings)] for row in ordered]
    headings += ["predicted ms"] * predicted
    return tables.as_text(headings, cells, left=("algorithm",))


def _cells(row: Measurement) -> list[str]:
    return [
        str(row.world_size),
        format_bytes(row.size_bytes),
        row.algorithm,
        str(row.chunks),
        f"{row.median_s * 1e3:.2f}",
        f"{row.least_s * 1e3:.2f} to {row.most_s * 1e3:.2f}",
        f"{row.ratio_to_gloo:.2f}",
        f"{row.ratio_to_bound:.2f}",
        f"{row.cpu_s * 1e3:.1f}",
        f"{row.predicted_s * 1e3:.2f}" if row.predicted_s else "",
    ]


def steps_text(rows: Sequence[StepRow]) -> str:
    """A table of replayed steps: predicted, measured, and the speed-ups."""
    headings = ["hosts", "way", "largest by", "predicted s", "measured s", "least to most"]
    headings += ["off by", "speed-up"]
    cells = [
        (
            str(row.world_size),
            row.way,
            row.algorithm,
            f"{row.predicted_s:.3f}",
            f"{row.measured_s:.3f}",
            f"{row.least_s:.3f} to {row.most_s:.3f}",
            f"{row.predicted_s / row.measured_s - 1:+.1%}",
            f"{row.speedup:.2f}",
        )
        for row in rows
    ]
    return tables.as_text(headings, cells, left=("hosts", "way", "largest by"))


def accuracy_text(runs: Sequence[AccuracyRun]) -> str:
    """A table with the median over the seeds for every recipe and way."""
    return tables.as_text(ACCURACY_HEADINGS, accuracy_cells(runs), left=("recipe", "way"))


ACCURACY_HEADINGS = (
    "recipe",
    "way",
    "reached",
    "accuracy",
    "steps",
    "seconds",
    "least to most",
    "times as soon",
    "MB sent",
    "× fewer bytes",
)


def accuracy_cells(runs: Sequence[AccuracyRun]) -> Iterator[tuple[str, ...]]:
    """The table's rows. Ratios compare medians with the first way's, over runs that reached the target."""
    for recipe in dict.fromkeys(run.recipe for run in runs):
        first: tuple[float, float] | None = None
        for way in dict.fromkeys(run.way for run in runs):
            mine = [run for run in runs if (run.recipe, run.way) == (recipe, way)]
            reached = [run for run in mine if run.reached]
            seconds = sorted(run.seconds for run in reached or mine)
            taken = median(seconds), median(run.sent_bytes for run in reached or mine)
            first = first or taken
            yield (
                recipe,
                way,
                f"{len(reached)} of {len(mine)}",
                f"{median(run.accuracy for run in mine):.2%}",
                f"{median(run.steps for run in reached or mine):.0f}",
                f"{taken[0]:.1f}",
                f"{seconds[0]:.1f} to {seconds[-1]:.1f}",
                f"{first[0] / taken[0]:.2f}" if reached else "",
                f"{taken[1] / 1e6:.1f}",
                f"{first[1] / taken[1]:.1f}" if reached else "",
            )
