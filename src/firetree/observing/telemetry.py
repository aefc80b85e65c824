"""Each rank writes its steps into the run's folder, which all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from firetree.peers import Json
from firetree.trace import OpenStep, StepTrace, TraceHeader, append_steps, begin_trace


class Telemetry:
    """The way of a rank's steps into the folder."""

    now: Callable[[], OpenStep] | None = None

    def __init__(self, run_dir: Path, header: TraceHeader):
        self._run_dir, self._rank = run_dir, header.rank
        begin_trace(run_dir, header, 0)

    def add(self, step: StepTrace) -> None:
        """Write a step."""
        append_steps(self._run_dir, self._rank, [step])

    def close(self, failure: str | None = None) -> None:
        """Nothing is left to write."""


def open_telemetry(
    run_dir: Path,
    header: TraceHeader,
    about: Mapping[str, Json],
    gather: Callable[[Json], list[Json]],
) -> Telemetry:
    """Begin a rank's file."""
    return Telemetry(run_dir, header)
