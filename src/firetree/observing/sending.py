"""The way of a rank's trace to rank 0's folder, beside the training and without a collective.

A thread takes what the rank has measured about once a second, and sends it to the collector, a process
on rank 0's host. It never waits for it: where rank 0's host is slow, lines stand for more steps.
"""

from __future__ import annotations

import logging
import select
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from statistics import median

from firetree.errors import UserError
from firetree.observing.messages import Arrivals, answered, line_of
from firetree.observing.stillness import Stillness
from firetree.observing.thinning import Backlog
from firetree.output import printable
from firetree.peers.clock import RemoteClock
from firetree.trace import Event, EventKind, OpenStep, StepTrace, TraceHeader, as_json
from firetree.wires import Wire, WireClosedError

EVERY_S = 1.0
"""How often a rank tells what it has."""
LONG_S, LONG_FACTOR = 2.0, 5.0
"""A step takes long after so many seconds, and so many times the usual ones."""
CLOSE_S = 2.0
"""How long a rank waits at its end for what it tells to be taken."""
_USUAL_STEPS = 32
_CLOCK_ROUNDS = 8
_PAUSE_S = 0.2
_MOST_UNSENT_BYTES = 1 << 20
_MOST_REASON = 300
"""Characters of an error."""


class Telemetry:
    """One rank's end of the way; `open_telemetry` opens it.

    Set `now` to a function that says where the rank is in a step that is not over. It is called by the
    telemetry's thread, and its answer is told where the step takes long, or the rank fails.
    """

    def __init__(
        self,
        stream: socket.socket,
        header: TraceHeader,
        collector: subprocess.Popen[bytes] | None = None,
    ):
        self.now: Callable[[], OpenStep | None] = lambda: None
        self._header, self._collector, self._clock = header, collector, RemoteClock()
        self._wire = Wire.over(stream)
        self._arrivals, self._unsent = Arrivals(self._wire), bytearray()
        self._new: deque[StepTrace | Event] = deque()
        self._backlog = Backlog()
        self._step, self._stepped_s = 0, time.monotonic()
        self._stillness = Stillness(_PAUSE_S)
        self._usual_s: deque[float] = deque(maxlen=_USUAL_STEPS)
        self._failure: str | None = None
        self._is_now_told = self._ends = self._is_let_go = self._is_gone = False
        self._poll = select.poll()
        self._thread = threading.Thread(target=self._run, name="firetree-telemetry", daemon=True)

    def begin(self, until_s: float) -> None:
        """Read rank 0's clock, which says that all ranks have come, and begin to send.

        Raises:
            OSError: the collector is gone, or silent until that moment of `time.monotonic`.
        """
        for asked in range(_CLOCK_ROUNDS):
            self._ask()
            while self._clock.answers == asked:
                if time.monotonic() > until_s:
                    raise TimeoutError("no answer")
                self._pass_on()
        self._thread.start()

    def add(self, step: StepTrace) -> None:
        """Tell a step, on this rank's own monotonic clock; returns at once."""
        if not self._is_gone:
            self._step, self._stepped_s = step.step + 1, time.monotonic()
            self._new.append(step)

    def tell(self, kind: EventKind, step: int, text: str) -> None:
        """Tell what happened on this rank, now; returns at once."""
        if not self._is_gone:
            event = Event(kind, time.monotonic(), step, printable(text), self._header.rank)
            self._new.append(event)

    def close(self, failure: str | None = None) -> None:
        """Tell what is left, and why the rank fails if it does; takes about two seconds at most."""
        if self._ends or self._is_gone:
            return
        self._failure, self._ends = failure, True
        self._thread.join(CLOSE_S + EVERY_S)
        if self._collector:
            with suppress(subprocess.TimeoutExpired):
                self._collector.wait(EVERY_S)

    def leave(self) -> None:
        """Close the connection without a word: in a process that was forked, or where opening failed."""
        self._is_gone = True
        self._wire.close()

    def _run(self) -> None:
        try:
            while not self._ends:
                self._tell_new()
                self._ask()
                until_s = time.monotonic() + EVERY_S
                while time.monotonic() < until_s and not self._ends:
                    self._pass_on()
            self._say_goodbye(time.monotonic() + CLOSE_S)
        except (WireClosedError, UserError) as error:
            if not self._is_let_go:
                why = f"the connection with what writes it broke ({error})"
                _say_that_the_trace_ends(self._header.rank, why)
        except Exception as error:  # whatever it is, the training goes on
            _say_that_the_trace_ends(
                self._header.rank, f"unexpected {type(error).__name__}: {error}"
            )
        self.leave()

    def _say_goodbye(self, until_s: float) -> None:
        """Say all that is left, and wait until it is taken (WireClosedError if it is not)."""
        self._tell_new(all_of_it=True)
        if self._failure is not None:
            self._tell_now(failing=True)
            reason = printable(self._failure)[:_MOST_REASON]
            text = f"{self._header.name} failed at step {self._step}: {reason}"
            now_s, rank = time.monotonic(), self._header.rank
            self._say(event=Event("failed", now_s, self._step, text, rank, error=reason))
        self._say(goodbye=True)
        while self._unsent and time.monotonic() < until_s:
            self._pass_on()
        self._is_let_go = not self._unsent
        with suppress(WireClosedError):
            while time.monotonic() < until_s:
                self._pass_on()

    def _tell_new(self, all_of_it: bool = False) -> None:
        """Say what has come since the last time, as far as rank 0's host takes it."""
        while self._new:
            new = self._new.popleft()
            if isinstance(new, Event):
                self._say(event=new)
            else:
                self._usual_s.append(new.step_s)
                self._backlog.add(new)
        self._tell_now()
        if all_of_it:
            self._backlog.end()
        while len(self._unsent) < _MOST_UNSENT_BYTES and (step := self._backlog.next()):
            self._say(step=step.step, line=as_json(step, self._offset_s))
            time.sleep(0)  # the training may wait for the interpreter

    def _tell_now(self, failing: bool = False) -> None:
        """Say where the rank is if its step takes long, and that it is over if it did."""
        usual_s = median(self._usual_s) if self._usual_s else 0.0
        since_s = time.monotonic() - self._stepped_s
        is_told = failing or since_s > max(LONG_S, LONG_FACTOR * usual_s)
        now = self.now() if is_told else None
        if now:
            self._say(now=now)
        elif self._is_now_told and not failing:
            self._say(is_over=True)
        self._is_now_told = now is not None

    @property
    def _offset_s(self) -> float:
        return self._clock.offset_s if self._header.rank else 0.0

    def _ask(self) -> None:
        self._say(asked_s=time.monotonic())
        self._send()

    def _say(self, **said: object) -> None:
        self._unsent += line_of(self._offset_s, **said)

    def _send(self) -> None:
        if self._unsent:
            del self._unsent[: self._wire.send(memoryview(bytes(self._unsent)))]

    def _pass_on(self) -> None:
        """Wait a moment, send and hear (WireClosedError)."""
        self._poll.register(
            self._wire.incoming, select.POLLIN | select.POLLOUT * bool(self._unsent)
        )
        self._poll.poll(_PAUSE_S * 1e3)
        self._look_for_a_pause()
        self._send()
        for line in self._arrivals.arrived():
            answer = answered(line)
            if answer.there_s is None:
                self._is_let_go = True
                if answer.text:
                    _say_that_the_trace_ends(self._header.rank, answer.text)
            else:
                self._clock.hear(answer.asked_s, time.monotonic(), answer.there_s)

    def _look_for_a_pause(self) -> None:
        """Tell if this process did not run since the last time."""
        if still_s := self._stillness.look():
            text = f"{self._header.name} stood still for {still_s:.1f} s"
            at_s = time.monotonic()
            self._new.append(
                Event("paused", at_s, self._step, text, self._header.rank, round(still_s, 3))
            )


def _say_that_the_trace_ends(rank: int, why: str) -> None:
    logging.getLogger("firetree").warning(
        "the trace of rank %d ends here, and training goes on: %s", rank, why
    )
