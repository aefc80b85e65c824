"""Watchers of a run: lines of text, or messages to the process that started it.

The live display is in `commands`.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from firetree.launch import Tell
from firetree.progress import Progress

LINE_S = 10.0
"""Seconds between two lines about steps, at least."""

_RELAY_S = 0.1
"""Seconds between two messages about steps, at least."""


class Watcher(Protocol):
    """Hears of a run, on rank 0 alone."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def step(self, step: int, total_steps: int, loss: float) -> None:
        """`step` steps are done; `loss` is rank 0's mean over the last batch."""


class Lines:
    """Passes on all lines, and a step when `LINE_S` seconds are over."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._said_s = time.monotonic()
        self._first: tuple[int, float] | None = None

    def say(self, line: str) -> None:
        self._progress(line)
        self._said_s = time.monotonic()

    def step(self, step: int, total_steps: int, loss: float) -> None:
        now_s = time.monotonic()
        done, since_s = self._first = self._first or (step, now_s)
        if now_s - self._said_s >= LINE_S and step > done:
            left_s = (now_s - since_s) / (step - done) * (total_steps - step)
            self.say(f"step {step}/{total_steps}  loss {loss:.3f}  {in_minutes(left_s)} left")


def in_minutes(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Relay:
    """Sends messages to the process that started the run, where `relayed` reads them."""

    def __init__(self, tell: Tell):
        self._tell = tell
        self._told_s = 0.0

    def say(self, line: str) -> None:
        self._tell(line)

    def step(self, step: int, total_steps: int, loss: float) -> None:
        if time.monotonic() - self._told_s >= _RELAY_S:
            self._told_s = time.monotonic()
            self._tell([step, total_steps, loss])


def relayed(watcher: Watcher) -> Tell:
    """A reader for the messages of a `Relay`."""

    def hear(message: Any) -> None:
        match message:
            case [step, total_steps, loss]:
                watcher.step(step, total_steps, loss)
            case _:
                watcher.say(str(message))

    return hear
