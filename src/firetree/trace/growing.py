"""A trace that is still being written: each look reads only what came since the last one."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

from firetree.documents import from_document, parse_json
from firetree.trace.events import Event
from firetree.trace.files import (
    RankTrace,
    Trace,
    events_path,
    files,
    read_header,
    read_now,
)
from firetree.trace.steps import StepTrace, TraceHeader


class GrowingTrace:
    """The newest steps of each rank of a run, and all its events.

    Args:
        run_dir: the run's folder, which may have no trace yet.
        most_steps: of each rank; older ones are forgotten.
    """

    def __init__(self, run_dir: Path, most_steps: int):
        self._run_dir, self._most_steps = run_dir, most_steps
        self._ranks: dict[Path, _GrowingRank] = {}
        self._event_lines = _Lines(events_path(run_dir))
        self._events: list[Event] = []

    def look(self) -> Trace | None:
        """The trace as it is now; None until every rank has begun its own.

        Raises:
            UserError: a whole line is not one of a trace of this version.
        """
        for path in files(self._run_dir):
            self._ranks.setdefault(path, _GrowingRank(path, self._most_steps)).look()
        self._look_at_events()
        ranks = [
            RankTrace(rank.header, tuple(rank.steps), read_now(self._run_dir, rank.header.rank))
            for _, rank in sorted(self._ranks.items())
            if rank.header
        ]
        if not ranks or len(ranks) < ranks[0].header.world_size:
            return None
        return Trace(tuple(ranks), tuple(self._events))

    def _look_at_events(self) -> None:
        is_anew, lines = self._event_lines.read()
        if is_anew:
            self._events.clear()
        self._events += [from_document(Event, line, source) for source, line in lines]


class _GrowingRank:
    def __init__(self, path: Path, most_steps: int):
        self._lines = _Lines(path)
        self.header: TraceHeader | None = None
        self.steps = deque[StepTrace](maxlen=most_steps)

    def look(self) -> None:
        is_anew, lines = self._lines.read()
        if is_anew:
            self.header = None
            self.steps.clear()
        for source, line in lines:
            if self.header is None:
                self.header, self._read_step = read_header(line, source)
            else:
                self.steps.append(self._read_step(line, source))


class _Lines:
    """The lines of a JSONL file as they come; one that is half written comes later."""

    def __init__(self, path: Path):
        self._path = path
        self._file_number, self._read_bytes, self._count = -1, 0, 0

    def read(self) -> tuple[bool, list[tuple[str, dict[str, Any]]]]:
        """Whether the file was replaced; and the new lines, each with its place for errors."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return False, []
        with file:
            state = os.fstat(file.fileno())
            is_anew = state.st_ino != self._file_number or state.st_size < self._read_bytes
            if is_anew:
                self._file_number, self._read_bytes, self._count = state.st_ino, 0, 0
            file.seek(self._read_bytes)
            *whole, half = file.read().split(b"\n")
            self._read_bytes = file.tell() - len(half)
        return is_anew, [self._parsed(line) for line in whole]

    def _parsed(self, line: bytes) -> tuple[str, dict[str, Any]]:
        self._count += 1
        source = f"{self._path}: line {self._count}"
        return source, parse_json(dict[str, Any], line, source)
