"""The trace of a run: for every rank one line a step, with where its time and bytes went.

A trace is data: `train` writes it, `report` reads it, and a person can read it too. All times are
seconds; points in time are on rank 0's monotonic clock, so that ranks can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from firetree.durable import append_json_lines, read_json_lines, write_json_lines
from firetree.errors import UserError

TRACE_VERSION = 1


@dataclass(frozen=True, slots=True)
class BucketSpan:
    """One bucket of gradients: when its last gradient was computed, its sum began and ended."""

    index: int
    size_bytes: int
    ready_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step of one rank.

    `backward_s` includes what the step waited for its buckets after the last gradient was computed.
    `sent_bytes` counts gradient bytes to all peers; `samples` counts the answers in this rank's share
    of the batch, what the loss is a mean over: one a picture or game, one or several a sequence.
    `algorithm` is what summed the largest bucket, which a new plan changes.
    """

    step: int
    start_s: float
    data_wait_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    samples: int
    sent_bytes: int
    buckets: tuple[BucketSpan, ...]
    algorithm: str = ""

    @property
    def step_s(self) -> float:
        return self.data_wait_s + self.forward_s + self.backward_s + self.optimizer_s

    @property
    def backward_end_s(self) -> float:
        return self.start_s + self.data_wait_s + self.forward_s + self.backward_s

    @property
    def gradients_ready_s(self) -> float:
        """When the last gradient was computed: communication is exposed from here on."""
        return max((bucket.ready_s for bucket in self.buckets), default=self.backward_end_s)

    @property
    def communication_s(self) -> float:
        """What the step waited for its buckets once its own gradients were computed."""
        return max(0.0, self.backward_end_s - self.gradients_ready_s)


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What all steps of a rank's trace have in common.

    `gradient_bytes` is |W|, what is summed over the ranks in a step; `formula_bytes` is the algorithm's
    closed form of what the busiest rank sends a step, None where it has none; `bytes_counted_by` says
    who measured `sent_bytes`: our executor or the kernel.
    """

    rank: int
    world_size: int
    algorithm: str
    bytes_counted_by: str
    gradient_bytes: int
    formula_bytes: float | None


@dataclass(frozen=True, slots=True)
class RankTrace:
    """All steps of one rank."""

    header: TraceHeader
    steps: tuple[StepTrace, ...]


def shifted(step: StepTrace, offset_s: float) -> StepTrace:
    """The step with its points in time moved to another clock."""
    buckets = tuple(
        replace(
            bucket,
            ready_s=bucket.ready_s + offset_s,
            start_s=bucket.start_s + offset_s,
            end_s=bucket.end_s + offset_s,
        )
        for bucket in step.buckets
    )
    return replace(step, start_s=step.start_s + offset_s, buckets=buckets)


def begin_trace(run_dir: Path, header: TraceHeader, first_step: int) -> None:
    """Begin a rank's file, keeping the steps before `first_step` of a run like this one.

    What has the same closed form, or none, may be summed by another algorithm, as after a new plan.
    """
    path = _path(run_dir, header.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"version": TRACE_VERSION, **asdict(header)}
    lines = read_json_lines(path)
    alike = ("version", "rank", "world_size", "gradient_bytes", "formula_bytes")
    known = bool(lines) and all(lines[0].get(key) == head[key] for key in alike)
    kept = [line for line in lines[1:] if line["step"] < first_step] if known else []
    write_json_lines(path, [head, *kept])


def drop_ranks(run_dir: Path, world_size: int) -> None:
    """Remove the files of ranks that a run has no more, as it goes on with fewer."""
    for path in (run_dir / "trace").glob("rank-*.jsonl"):
        if int(path.stem.removeprefix("rank-")) >= world_size:
            path.unlink()


def append_steps(run_dir: Path, rank: int, steps: Iterable[StepTrace]) -> None:
    """Add steps to the end of a rank's file."""
    append_json_lines(_path(run_dir, rank), map(asdict, steps))


def read_traces(run_dir: Path) -> list[RankTrace]:
    """The traces of all ranks, in the order of the ranks.

    Raises:
        UserError: there are none, or a file is no trace of this version.
    """
    paths = sorted((run_dir / "trace").glob("rank-*.jsonl"))
    if not paths:
        raise UserError(f"no trace in {run_dir}; expected the folder of a run of `firetree train`")
    return [_read_trace(path) for path in paths]


def _read_trace(path: Path) -> RankTrace:
    lines = read_json_lines(path)
    if not lines or lines[0].get("version") != TRACE_VERSION:
        raise UserError(f"{path} is no trace of version {TRACE_VERSION}; was it edited?")
    try:
        header = TraceHeader(**{key: lines[0][key] for key in lines[0] if key != "version"})
        steps = tuple(
            StepTrace(**{**line, "buckets": tuple(BucketSpan(**b) for b in line["buckets"])})
            for line in lines[1:]
        )
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} is no trace of version {TRACE_VERSION}: {error}") from error
    return RankTrace(header, steps)


def _path(run_dir: Path, rank: int) -> Path:
    return run_dir / "trace" / f"rank-{rank:04d}.jsonl"
