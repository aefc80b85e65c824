"""What a rank does between two steps: a step's trace begins where the last one ended, so no time is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from firetree.observing.run_queue import RunQueue
from firetree.trace import Phase, PhaseSpan


class Between:
    """The time since the last step's end, of the thread that makes it."""

    def __init__(self) -> None:
        self._since_s, self._cpu_s = time.monotonic(), time.process_time()
        self._spans: list[PhaseSpan] = []
        self._run_queue = RunQueue()

    def waited_s(self) -> float:
        """Seconds that this thread has waited for a CPU since it began."""
        return self._run_queue.waited_s()

    @contextmanager
    def doing(self, phase: Phase) -> Iterator[None]:
        """What is done within is this phase; all else between two steps is `other`."""
        start_s = time.monotonic()
        yield
        self._spans.append(PhaseSpan(phase, start_s, time.monotonic()))

    def end(self, step_s: float, end_s: float) -> tuple[tuple[PhaseSpan, ...], float]:
        """A step from `step_s` to `end_s` is over.

        Returns:
            What was done between the last one and this one, and the CPU seconds of both.
        """
        spans, at_s = list[PhaseSpan](), self._since_s
        for span in self._spans:
            spans += [PhaseSpan("other", at_s, span.start_s), span]
            at_s = span.end_s
        spans.append(PhaseSpan("other", at_s, step_s))
        before_s, self._cpu_s = self._cpu_s, time.process_time()
        self._since_s, self._spans = end_s, []
        return tuple(spans), self._cpu_s - before_s
