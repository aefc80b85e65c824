"""Hand-made traces of runs."""

from __future__ import annotations

from pathlib import Path

from firetree.trace import BucketSpan, PassSpan, StepTrace, TraceHeader, append_steps, begin_trace

STEPS = 5


def step(
    number: int,
    *,
    data_wait_s: float = 0.1,
    compute_s: float = 1.0,
    communication_s: float = 0.5,
    sent_bytes: int = 1000,
) -> StepTrace:
    """A step that computes, of which a quarter forward, then waits for its one bucket."""
    start_s = 10.0 * number
    ready_s = start_s + data_wait_s + compute_s
    end_s = ready_s + communication_s
    return StepTrace(
        step=number,
        start_s=start_s,
        data_wait_s=data_wait_s,
        forward_s=compute_s / 4,
        backward_s=compute_s * 3 / 4 + communication_s,
        optimizer_s=0.0,
        samples=8,
        sent_bytes=sent_bytes,
        buckets=(BucketSpan(0, 500, ready_s, ready_s, end_s),),
        communication_s=communication_s,
        passes=(PassSpan(ready_s, end_s),),
    )


def write_run(run_dir: Path, *ranks: dict[str, float]) -> Path:
    for rank, fields in enumerate(ranks):
        begin_trace(run_dir, TraceHeader(rank, len(ranks), "ring", "executor", 500, 1000.0), 0)
        append_steps(run_dir, rank, [step(k, **fields) for k in range(STEPS)])  # type: ignore[arg-type]
    return run_dir
