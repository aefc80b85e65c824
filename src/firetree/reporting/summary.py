"""A run in numbers, from the traces of all ranks on one clock.

After its last gradient a rank waits for its buckets. While another rank still computes, it waits for a
straggler; after that it waits for the network, which is exposed communication.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import overload

from firetree.errors import UserError
from firetree.metrics import read_metrics
from firetree.shown import Shown
from firetree.trace import RankTrace, StepTrace, read_trace


@dataclass(frozen=True, slots=True, repr=False)
class Summary(Shown):
    """Means over all steps and ranks; seconds and bytes are those of one step.

    `samples_per_s` counts the answers of all ranks: one for an image or game, one or several for a
    sequence. `step_s` is the sum of its four parts. `accuracy` is top-1 on the test set (0 to 1), None
    before the first evaluation. `formula_bytes` is what the busiest rank sends by the algorithm's
    closed form, None where it has none.
    """

    run: str
    algorithm: str
    world_size: int
    steps: int
    accuracy: float | None
    samples_per_s: float
    step_s: float
    data_wait_s: float
    compute_s: float
    exposed_communication_s: float
    straggler_wait_s: float
    busiest_rank: int
    busiest_rank_sent_bytes: float
    bytes_counted_by: str
    gradient_bytes: int
    formula_bytes: float | None
    bottleneck: str

    def __repr__(self) -> str:
        return (
            f"<Summary of {self.run}: {self.world_size} workers, {self.algorithm}, {self.steps} steps "
            f"of {self.step_s * 1e3:.3g} ms>"
        )


@overload
def report(runs: str | PathLike[str]) -> Summary: ...  # type: ignore[overload-overlap]
@overload
def report(runs: Sequence[str | PathLike[str]]) -> tuple[Summary, ...]: ...
def report(
    runs: str | PathLike[str] | Sequence[str | PathLike[str]],
) -> Summary | tuple[Summary, ...]:
    """Say where the time of a run goes, and what holds it back.

    Args:
        runs: a run or its folder; or several of them.

    Returns:
        The run's summary; for several, one for each.

    Raises:
        UserError: a folder holds no run, or a run without a whole step.

    Example:
        >>> firetree.report("runs/demo").bottleneck
        '... holds the run back: ...'
    """
    if isinstance(runs, str | PathLike):
        return _summary(Path(runs))
    return tuple(_summary(Path(run)) for run in runs)


def _summary(run_dir: Path) -> Summary:
    if not run_dir.is_dir():
        raise UserError(f"no run folder {run_dir}; expected the folder of `firetree train`")
    traces = read_trace(run_dir).ranks
    rounds = _rounds(traces)
    if not rounds:
        raise UserError(f"the trace in {run_dir} has no step of all ranks yet; let it run longer")
    metrics = read_metrics(run_dir)
    header = traces[0].header
    sent_bytes = [fmean(step.sent_bytes for step in trace.steps) for trace in traces]
    step_s = _mean(rounds, lambda step, _: step.step_s)
    parts = {
        "data_wait_s": _mean(rounds, lambda step, _: step.data_wait_s),
        "compute_s": _mean(rounds, lambda step, _: step.step_s - step.data_wait_s - step.communication_s),
        "exposed_communication_s": _mean(rounds, _exposed_s),
        "straggler_wait_s": _mean(rounds, _straggler_wait_s),
    }
    answers = fmean(sum(step.samples for step in one) for one in rounds)
    return Summary(
        run=str(run_dir),
        algorithm=header.algorithm,
        world_size=header.world_size,
        steps=len(rounds),
        accuracy=metrics[-1].accuracy if metrics else None,
        samples_per_s=answers / step_s,
        step_s=step_s,
        **parts,
        busiest_rank=sent_bytes.index(max(sent_bytes)),
        busiest_rank_sent_bytes=max(sent_bytes),
        bytes_counted_by=header.bytes_counted_by,
        gradient_bytes=header.gradient_bytes,
        formula_bytes=header.formula_bytes,
        bottleneck=_bottleneck(parts, step_s, max(sent_bytes), rounds),
    )


Round = Sequence[StepTrace]
"""One step as all ranks saw it."""


def _rounds(traces: Sequence[RankTrace]) -> list[Round]:
    """The steps that every rank has recorded."""
    by_rank = [{step.step: step for step in trace.steps} for trace in traces]
    shared = set.intersection(*(set(steps) for steps in by_rank))
    return [[steps[number] for steps in by_rank] for number in sorted(shared)]


def _mean(rounds: Sequence[Round], quantity: Callable[[StepTrace, Round], float]) -> float:
    return fmean(quantity(step, one) for one in rounds for step in one)


def _ready_s(step: StepTrace) -> float:
    """When a rank had computed its last gradient."""
    if step.passes:
        return step.passes[-1].ready_s
    return step.start_s + step.data_wait_s + step.forward_s + step.backward_s


def _straggler_wait_s(step: StepTrace, one: Round) -> float:
    last_ready_s = max(map(_ready_s, one))
    return min(step.communication_s, last_ready_s - _ready_s(step))


def _exposed_s(step: StepTrace, one: Round) -> float:
    return step.communication_s - _straggler_wait_s(step, one)


def _bottleneck(
    parts: dict[str, float], step_s: float, sent_bytes: float, rounds: Sequence[Round]
) -> str:
    largest = max(parts, key=parts.__getitem__)
    share = f"{parts[largest] / step_s:.0%} of a step"
    match largest:
        case "compute_s":
            return (
                f"Computation holds the run back: it takes {share}; the network is not the limit."
            )
        case "data_wait_s":
            return f"Reading data holds the run back: workers wait for it {share}."
        case "exposed_communication_s":
            return (
                f"Communication holds the run back: workers wait for it {share}, with "
                f"{sent_bytes / 1e6:.3g} MB a step from the busiest rank."
            )
    rank, times = Counter(map(_slowest, rounds)).most_common(1)[0]
    return (
        f"Waiting for others holds the run back: it takes {share}; rank {rank} was last in "
        f"{times / len(rounds):.0%} of the steps."
    )


def _slowest(one: Round) -> int:
    return max(range(len(one)), key=lambda rank: _ready_s(one[rank]))
