"""stub until landing"""

from __future__ import annotations
from pathlib import Path
from typing import Any
from firetree.trace import begin_trace, append_steps


class Telemetry:
    def __init__(self, run_dir, header):
        self.run_dir, self.header = run_dir, header
        begin_trace(run_dir, header, 0)

    def add(self, step: Any) -> None:
        append_steps(self.run_dir, self.header.rank, [step])

    now: Any = None

    def close(self, failure: Any) -> None:
        pass


def open_telemetry(run_dir: Path, header: Any, about: Any, gather: Any) -> Telemetry:
    return Telemetry(run_dir, header)
