"""What happened to a run as a whole, and where its ranks are now, or were when it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firetree.documents import Count, Printable, Seconds
from firetree.trace.steps import Moment, Phase

EventKind = Literal[
    "started", "probed", "planned", "shares", "slower", "waiting", "paused", "failed", "ended"
]
"""A run starts anew where it is resumed; `shares` are those of the batch, which have changed; `waiting` tells of
ranks that others wait for, and `paused` of one whose process did not run for a while."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a reader of the run should know: when, before which step, of which rank, and what.

    What took a while ended at `at_s`, and took `seconds`; 0 where that is not known. `error` is what a rank
    raised that failed; empty where it went away without a word.
    """

    kind: EventKind
    at_s: Moment
    step: Count
    text: Printable
    rank: Count | None = None
    seconds: Seconds = 0.0
    error: Printable = ""


@dataclass(frozen=True, slots=True)
class OpenBucket:
    """A bucket of a step that is not over; it is not summed yet where `end_s` is None."""

    index: int
    ready_s: Moment
    end_s: Moment | None
    layers: tuple[Printable, ...] = ()
    model: Count = 0


@dataclass(frozen=True, slots=True)
class OpenStep:
    """Where a rank was at `at_s`, in a step that was not over: in which phase, and since when."""

    step: Count
    at_s: Moment
    phase: Phase
    since_s: Moment
    buckets: tuple[OpenBucket, ...] = ()
