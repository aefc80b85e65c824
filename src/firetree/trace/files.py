"""The files of a run's trace: a rank's steps, where it is now, and what happened to the run.

    trace/rank-0003.jsonl   a header, then a line a step; in a long run a line for several
    trace/now-0003.json     the step that is not over, while it takes long and after a failure
    trace/events.jsonl      what happened, by time

They are written on rank 0's host alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

from firetree.documents import from_document, parse_json, read_text
from firetree.durable import (
    append_lines,
    new_folder,
    read_json_lines,
    write_durably,
)
from firetree.errors import UserError
from firetree.trace.encoding import as_json
from firetree.trace.events import Event, OpenStep
from firetree.trace.steps import PassSpan, StepTrace, TraceHeader

TRACE_VERSION = 3

ReadStep = Callable[[dict[str, Any], str], StepTrace]
"""From a line, and its place for errors (UserError), to a step."""


@dataclass(frozen=True, slots=True)
class RankTrace:
    """All steps of one rank, and where it is in the next one, if that is known."""

    header: TraceHeader
    steps: tuple[StepTrace, ...]
    now: OpenStep | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """The traces of all ranks of a run, by rank, and what happened to it, by time."""

    ranks: tuple[RankTrace, ...]
    events: tuple[Event, ...] = ()

    def __repr__(self) -> str:
        steps = max(len(rank.steps) for rank in self.ranks)
        return f"<Trace of {len(self.ranks)} ranks over {steps} steps>"


def begin_trace(run_dir: Path, header: TraceHeader, first_step: int) -> None:
    """Begin a rank's file; keep the steps before `first_step` if its header is like this one.

    The algorithm may differ, as after a new plan, and so may the host, as after a resume elsewhere.
    """
    path = _path(run_dir, header.rank)
    new_folder(path.parent)
    kept: Iterable[StepTrace] = ()
    if path.exists():
        earlier = _read_rank(path)
        if _alike(earlier.header, header):
            kept = (step for step in earlier.steps if step.step < first_step)
    first = json.dumps({"version": TRACE_VERSION, **asdict(header)})
    lines = (f"{line}\n" for line in (first, *map(as_json, kept)))
    write_durably(path, "".join(lines).encode())


def _alike(one: TraceHeader, other: TraceHeader) -> bool:
    """Whether two headers may be of one run; the first versions have neither hosts nor layers."""
    ours = {field: getattr(other, field) for field in _MAY_DIFFER}
    return replace(one, **ours) == other


_MAY_DIFFER = ("algorithm", "bytes_counted_by", "host", "address", "layers")


def is_of_this_run(run_dir: Path, headers: Sequence[TraceHeader]) -> bool:
    """Whether `begin_trace` with these headers, one for each rank, continues every existing file.

    Raises:
        UserError: a file is not a trace of this version.
    """
    earlier = {trace.header.rank: trace.header for trace in map(_read_rank, files(run_dir))}
    return all(rank < len(headers) and _alike(earlier[rank], headers[rank]) for rank in earlier)


def append_steps(run_dir: Path, rank: int, steps: Iterable[StepTrace]) -> None:
    """Add steps to the end of a rank's file."""
    append_step_lines(run_dir, rank, map(as_json, steps))


def append_step_lines(run_dir: Path, rank: int, lines: Iterable[str]) -> None:
    """Add steps, as `as_json` gives them, to the end of a rank's file."""
    append_lines(_path(run_dir, rank), lines)


def read_trace(run_dir: str | PathLike[str]) -> Trace:
    """The trace of a run, from its folder.

    Raises:
        UserError: there are none, one is missing, or a file is not a trace of this version.
    """
    paths = files(Path(run_dir))
    if not paths:
        raise UserError(
            f"no trace in {run_dir}; expected the folder of a run of `firetree train` or `firetree run`"
        )
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
    ranks = (replace(trace, now=read_now(Path(run_dir), trace.header.rank)) for trace in traces)
    return Trace(tuple(ranks), _read_events(Path(run_dir)))


def _read_rank(path: Path) -> RankTrace:
    lines = read_json_lines(path)
    if not lines:
        raise UserError(f"{path} is empty; expected a trace of version {TRACE_VERSION}")
    header, step_of = read_header(lines[0], f"{path}: line 1")
    steps = tuple(
        step_of(line, f"{path}: line {number}") for number, line in enumerate(lines[1:], 2)
    )
    for number, (before, step) in enumerate(pairwise(steps), 3):
        if step.step <= before.step:
            raise UserError(
                f"{path}: line {number} has step {step.step} after {before.step}; expected a later one"
            )
    return RankTrace(header, steps)


def read_header(line: dict[str, Any], source: str) -> tuple[TraceHeader, ReadStep]:
    """A rank's header, and what reads the lines after it (UserError where it is of no version of ours)."""
    told = line.get("version")
    if told in (1, 2):
        return from_document(TraceHeader, line, source, told), _step_with_pass
    return from_document(TraceHeader, line, source, TRACE_VERSION), _step


def _step(line: dict[str, Any], source: str) -> StepTrace:
    return from_document(StepTrace, line, source)


def _step_with_pass(line: dict[str, Any], source: str) -> StepTrace:
    """A step of versions 1 and 2, whose one backward pass follows from its phases and buckets."""
    step = _step(line, source)
    if not step.buckets:
        return step
    end_s = step.start_s + step.data_wait_s + step.forward_s + step.backward_s
    ready_s = max(bucket.ready_s for bucket in step.buckets)
    communication_s = min(step.backward_s, max(0.0, end_s - ready_s))
    return replace(step, passes=(PassSpan(ready_s, end_s),), communication_s=communication_s)


def read_now(run_dir: Path, rank: int) -> OpenStep | None:
    """Where a rank is in a step that is not over."""
    path = _now_path(run_dir, rank)
    try:
        return parse_json(OpenStep, read_text(path, "trace"), str(path)) if path.exists() else None
    except UserError:
        if path.exists():
            raise
        return None  # the step ended in between


def write_now(run_dir: Path, rank: int, now: OpenStep | None) -> None:
    """Say where a rank is in a step that is not over; None once it is over."""
    path = _now_path(run_dir, rank)
    if now is None:
        path.unlink(missing_ok=True)
    else:
        write_durably(path, as_json(now).encode())


def add_event(run_dir: Path, event: Event) -> None:
    """Add what happened to the run."""
    path = events_path(run_dir)
    new_folder(path.parent)
    append_lines(path, [as_json(event)])


def _read_events(run_dir: Path) -> tuple[Event, ...]:
    path = events_path(run_dir)
    lines = read_json_lines(path) if path.exists() else []
    return tuple(
        from_document(Event, line, f"{path}: line {number}") for number, line in enumerate(lines, 1)
    )


def files(run_dir: Path) -> list[Path]:
    """The ranks' files, in the order of the ranks."""
    return sorted((run_dir / "trace").glob("rank-[0-9]*.jsonl"))


def _path(run_dir: Path, rank: int) -> Path:
    return run_dir / "trace" / f"rank-{rank:04d}.jsonl"


def _now_path(run_dir: Path, rank: int) -> Path:
    return run_dir / "trace" / f"now-{rank:04d}.json"


def events_path(run_dir: Path) -> Path:
    """Where the run's events are."""
    return run_dir / "trace" / "events.jsonl"
