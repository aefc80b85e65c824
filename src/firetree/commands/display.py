"""Show a run's progress: a live display on a terminal, plain lines elsewhere.

A run continues if its output can no longer be written; its folder has the results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from firetree.output import printable, tell
from firetree.training.progress import Lines


class Display(Lines):
    """A run's watcher; leaving the context removes the live display."""

    def __init__(self) -> None:
        super().__init__(self._print)
        self._console = Console(
            file=cast(IO[str], _Output()),
            highlight=False,
            soft_wrap=True,
            markup=False,
            emoji=False,
        )
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._live.add_task("", total=None)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def step(self, step: int, total_steps: int, loss: float) -> None:
        if self._live.disable:
            super().step(step, total_steps, loss)
            return
        self._live.start()  # not earlier: of several ranks, only the first calls `step`
        self._live.update(
            self._task, completed=step, total=total_steps, description=f"loss {loss:.3f}"
        )

    def _print(self, line: str) -> None:
        self._console.print(printable(line))


class _Output:
    """Standard output. The first failed write is reported once, and later output is dropped."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> None:
        with _giving_up():
            sys.stdout.write(text)

    def flush(self) -> None:
        with _giving_up():
            sys.stdout.flush()


@contextmanager
def _giving_up() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        tell(f"standard output cannot be written: {error.strerror}; the run goes on without it")
