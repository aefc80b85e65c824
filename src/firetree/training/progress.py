"""What a person watching sees: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from firetree.output import printable, to_standard_output

PLAIN_LINE_S = 10.0
"""Seconds between two plain lines."""


class Display:
    """Shows how far a run is; `say` adds a lasting line."""

    def __init__(self, total_steps: int):
        self._console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._live.add_task("starting", total=total_steps)
        self._total_steps = total_steps
        self._said_s = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs."""
        with self._live:
            yield

    def say(self, text: str) -> None:
        """A line that stays."""
        with to_standard_output():
            self._console.print(printable(text))
        self._said_s = time.monotonic()

    def step(self, step: int, loss: float) -> None:
        """`step` steps are done; `loss` is this rank's mean over the last batch."""
        self._live.update(self._task, completed=step, description=f"loss {loss:.3f}")
        if self._live.disable and time.monotonic() - self._said_s >= PLAIN_LINE_S:
            self.say(f"step {step}/{self._total_steps}  loss {loss:.3f}")
