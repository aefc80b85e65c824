"""Marks whether this process waits for other ranks; `rollcall` looks at the mark.

A mark costs one timestamp.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False, slots=True)
class OngoingWait:
    """A wait for other ranks; `since_s` is its start on `time.monotonic`."""

    since_s: float = field(default_factory=time.monotonic)


_now: OngoingWait | None = None


@contextmanager
def waiting() -> Iterator[None]:
    """Mark that this process waits for other ranks while the block runs."""
    global _now
    before, _now = _now, OngoingWait()
    try:
        yield
    finally:
        _now = before


def wait_now() -> OngoingWait | None:
    """The wait that this process is in, if any."""
    return _now
