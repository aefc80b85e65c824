"""The summary of one run as lines, of several runs as a table."""

from __future__ import annotations

from collections.abc import Sequence

from firetree.commands import tables
from firetree.output import printable
from firetree.reporting import Summary

_PARTS = {
    "data_wait_s": "waiting for data",
    "compute_s": "computing",
    "exposed_communication_s": "exposed communication",
    "straggler_wait_s": "waiting for others",
}


def as_text(summaries: Sequence[Summary]) -> str:
    """One summary as lines, several as a table."""
    return _lines(summaries[0]) if len(summaries) == 1 else _table(summaries)


def _lines(summary: Summary) -> str:
    lines = [
        f"run                    {printable(summary.run)}",
        f"workers                {summary.world_size}, {summary.algorithm}",
        f"test accuracy          {_percent(summary.accuracy)}",
        f"speed                  {summary.samples_per_s:,.0f} samples/s over {summary.steps} steps",
        f"a step                 {summary.step_s * 1e3:.2f} ms, of which",
    ]
    for field, name in _PARTS.items():
        seconds = getattr(summary, field)
        lines.append(f"  {name:<21}{seconds * 1e3:8.2f} ms {seconds / summary.step_s:5.0%}")
    lines += [
        f"busiest rank sends     {_bytes(summary)} a step (rank {summary.busiest_rank}, counted by the "
        f"{summary.bytes_counted_by}; formula {_formula(summary)})",
        "",
        summary.bottleneck,
    ]
    return "\n".join(lines)


def _table(summaries: Sequence[Summary]) -> str:
    headings = ["algorithm", "workers", "accuracy", "steps", "ms a step", "of it exposed"]
    headings += ["samples/s", "busiest sends a step", "formula", "run"]
    rows = [
        (
            summary.algorithm,
            str(summary.world_size),
            _percent(summary.accuracy),
            str(summary.steps),
            f"{summary.step_s * 1e3:.2f}",
            f"{summary.exposed_communication_s * 1e3:.2f}",
            f"{summary.samples_per_s:,.0f}",
            _bytes(summary),
            _formula(summary),
            summary.run,
        )
        for summary in summaries
    ]
    return tables.as_text(headings, rows, left=("algorithm", "run"))


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.2%}"


def _bytes(summary: Summary) -> str:
    return f"{summary.busiest_rank_sent_bytes:,.0f} B"


def _formula(summary: Summary) -> str:
    return "none" if summary.formula_bytes is None else f"{summary.formula_bytes:,.0f} B"
