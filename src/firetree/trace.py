"""The trace of a run: for every rank one line a step, with its time and bytes.

A trace is data: `train` writes it, `report` reads it, and a person can read it too. All times are in
seconds. Points in time are on rank 0's monotonic clock, so ranks can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from firetree.documents import Count, Expect, Finite, Positive, Seconds, from_document
from firetree.durable import append_json_lines, new_folder, read_json_lines, write_json_lines
from firetree.errors import UserError
from firetree.wires.tcp_info import TcpInfo

TRACE_VERSION = 2

Moment = Annotated[float, Expect(lambda value: abs(value) < 1e15, "seconds from -1e15 to 1e15")]
"""A point in time; negative before rank 0's host booted."""


@dataclass(frozen=True, slots=True)
class TransferSpan:
    """One transfer of a bucket's sum, as this rank sees it; the other rank's trace has its other end.

    It starts when this rank takes the first bytes from the kernel, or gives it the first. It ends when
    the last are taken, and added for a `recv_reduce`; or when the kernel has the last of what is sent.
    The k-th sent to a rank is the k-th that the rank receives. So one was on its way at most from the
    start on the one side to the end on the other.
    """

    peer: Count
    kind: Literal["send", "recv", "recv_reduce"]
    chunk: Count
    size_bytes: Count
    start_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class ChannelSpan:
    """All transfers of a step to one peer, or from it: their number, bytes, first start and last end."""

    peer: Count
    direction: Literal["to", "from"]
    transfers: Count
    size_bytes: Count
    start_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class WireSpan:
    """What this rank's kernel says of its connection to a peer at `end_s`; counters begin at `start_s`.

    They count headers too, and what came early for the next step. Where nothing moved, there is none.
    """

    peer: Count
    start_s: Moment
    end_s: Moment
    tcp: TcpInfo


@dataclass(frozen=True, slots=True)
class BucketSpan:
    """One bucket of gradients: when its last gradient was computed, and when its sum began and ended.

    The average of local steps has index -1. `transfers` are there in detailed steps (`is_detailed`).
    """

    index: Annotated[int, Expect(lambda value: value >= -1, "-1 or more")]
    size_bytes: Count
    ready_s: Moment
    start_s: Moment
    end_s: Moment
    transfers: tuple[TransferSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Communication:
    """What ranks said to each other for some buckets.

    `channels` are over our own connections alone: there are none where NCCL or Gloo sums, nor for what
    `topk`, `powersgd` and the scales of `int8` take. `wires` are read in detailed steps.
    """

    buckets: tuple[BucketSpan, ...]
    channels: tuple[ChannelSpan, ...] = ()
    wires: tuple[WireSpan, ...] = ()


def is_detailed(step: int) -> bool:
    """Whether a step's transfers are in the trace one by one, and what the kernel says of each wire.

    These are the first 16 steps, every 2nd to step 32, every 4th to step 64, and so on. So a run of a
    million steps has 144. Of a step's buckets, the first have their transfers, 2048 in all at most; the
    channels count them all, in every step.
    """
    return step % (1 << max(0, step.bit_length() - 4)) == 0


MOST_TRANSFERS = 2048
"""Transfers of a rank in a detailed step's buckets."""


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step of one rank.

    `backward_s` includes the wait for buckets after the last gradient was computed. `sent_bytes` counts
    gradient bytes to all peers. `samples` counts the answers in this rank's share of the batch: one for
    an image or game, one or several for a sequence. `algorithm` summed the largest bucket; a new plan
    changes it. The rest is what ranks said to each other: see `Communication`.
    """

    step: Count
    start_s: Moment
    data_wait_s: Seconds
    forward_s: Seconds
    backward_s: Seconds
    optimizer_s: Seconds
    samples: Count
    sent_bytes: Count
    buckets: tuple[BucketSpan, ...]
    algorithm: str = ""
    channels: tuple[ChannelSpan, ...] = ()
    wires: tuple[WireSpan, ...] = ()

    @property
    def step_s(self) -> float:
        return self.data_wait_s + self.forward_s + self.backward_s + self.optimizer_s

    @property
    def backward_end_s(self) -> float:
        return self.start_s + self.data_wait_s + self.forward_s + self.backward_s

    @property
    def gradients_ready_s(self) -> float:
        """When the last gradient was computed; from here on communication is exposed."""
        return max((bucket.ready_s for bucket in self.buckets), default=self.backward_end_s)

    @property
    def communication_s(self) -> float:
        """How long the step waited for its buckets once its own gradients were computed."""
        return max(0.0, self.backward_end_s - self.gradients_ready_s)


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What all steps of a rank's trace have in common.

    `gradient_bytes` is |W|, which is summed over the ranks in a step. `formula_bytes` is what the busiest
    rank sends in a step by the algorithm's closed form, None where it has none. `bytes_counted_by` is
    `executor` or `kernel`, whichever measured `sent_bytes`.
    """

    rank: Count
    world_size: Positive
    algorithm: str
    bytes_counted_by: str
    gradient_bytes: Count
    formula_bytes: Finite | None


@dataclass(frozen=True, slots=True)
class RankTrace:
    """All steps of one rank."""

    header: TraceHeader
    steps: tuple[StepTrace, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """The traces of all ranks of a run, by rank."""

    ranks: tuple[RankTrace, ...]

    def __repr__(self) -> str:
        steps = max(len(rank.steps) for rank in self.ranks)
        return f"<Trace of {len(self.ranks)} ranks over {steps} steps>"


Span = TypeVar("Span", BucketSpan, TransferSpan, ChannelSpan, WireSpan)


def shift(step: StepTrace, offset_s: float) -> StepTrace:
    """The step with its points in time moved to another clock."""
    buckets = tuple(
        replace(
            _shifted(bucket, offset_s),
            ready_s=bucket.ready_s + offset_s,
            transfers=tuple(_shifted(it, offset_s) for it in bucket.transfers),
        )
        for bucket in step.buckets
    )
    return replace(
        step,
        start_s=step.start_s + offset_s,
        buckets=buckets,
        channels=tuple(_shifted(it, offset_s) for it in step.channels),
        wires=tuple(_shifted(it, offset_s) for it in step.wires),
    )


def _shifted(span: Span, offset_s: float) -> Span:
    return replace(span, start_s=span.start_s + offset_s, end_s=span.end_s + offset_s)


def begin_trace(run_dir: Path, header: TraceHeader, first_step: int) -> None:
    """Begin a rank's file; keep the steps before `first_step` if its header is like this one.

    The algorithm may differ, as after a new plan.
    """
    path = _path(run_dir, header.rank)
    new_folder(path.parent)
    kept: Iterable[StepTrace] = ()
    if path.exists():
        earlier = _read_rank(path)
        if _alike(earlier.header, header):
            kept = (step for step in earlier.steps if step.step < first_step)
    write_json_lines(path, [{"version": TRACE_VERSION, **asdict(header)}, *map(asdict, kept)])


def _alike(one: TraceHeader, other: TraceHeader) -> bool:
    return replace(one, algorithm=other.algorithm, bytes_counted_by=other.bytes_counted_by) == other


def is_of_this_run(run_dir: Path, headers: Sequence[TraceHeader]) -> bool:
    """Whether `begin_trace` with these headers, one for each rank, continues every existing file.

    Raises:
        UserError: a file is not a trace of this version.
    """
    earlier = {trace.header.rank: trace.header for trace in map(_read_rank, files(run_dir))}
    return all(rank < len(headers) and _alike(earlier[rank], headers[rank]) for rank in earlier)


def append_steps(run_dir: Path, rank: int, steps: Iterable[StepTrace]) -> None:
    """Add steps to the end of a rank's file."""
    append_json_lines(_path(run_dir, rank), map(asdict, steps))


def read_trace(run_dir: str | PathLike[str]) -> Trace:
    """The trace of a run, from its folder.

    Raises:
        UserError: there are none, one is missing, or a file is not a trace of this version.
    """
    paths = files(Path(run_dir))
    if not paths:
        raise UserError(f"no trace in {run_dir}; expected the folder of a run of `firetree train`")
    traces = [_read_rank(path) for path in paths]
    world_size = traces[0].header.world_size
    for rank, (path, trace) in enumerate(zip(paths, traces, strict=True)):
        header = trace.header
        if (header.rank, header.world_size) != (rank, world_size):
            raise UserError(
                f"{path} is of rank {header.rank} of {header.world_size}; expected rank {rank} of "
                f"{world_size}, as {paths[0].name} has it"
            )
    if len(traces) != world_size:
        raise UserError(f"{run_dir} has traces of {len(traces)} ranks; expected {world_size}")
    return Trace(tuple(traces))


def _read_rank(path: Path) -> RankTrace:
    lines = read_json_lines(path)
    if not lines:
        raise UserError(f"{path} is empty; expected a trace of version {TRACE_VERSION}")
    # Version 1 had neither transfers nor channels nor wires.
    version = 1 if lines[0].get("version") == 1 else TRACE_VERSION
    header = from_document(TraceHeader, lines[0], f"{path}: line 1", version)
    steps = tuple(
        from_document(StepTrace, line, f"{path}: line {number}")
        for number, line in enumerate(lines[1:], 2)
    )
    for number, (before, step) in enumerate(pairwise(steps), 3):
        if step.step <= before.step:
            raise UserError(
                f"{path}: line {number} has step {step.step} after {before.step}; expected a later one"
            )
    return RankTrace(header, steps)


def files(run_dir: Path) -> list[Path]:
    """The ranks' files, in the order of the ranks."""
    return sorted((run_dir / "trace").glob("rank-[0-9]*.jsonl"))


def _path(run_dir: Path, rank: int) -> Path:
    return run_dir / "trace" / f"rank-{rank:04d}.jsonl"
