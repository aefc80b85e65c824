"""Ends a run at a signal: all ranks end after the same step, once a checkpoint is written.

Where that takes too long, the process ends without a checkpoint, whatever its threads wait for.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from types import TracebackType

from firetree import output
from firetree.errors import Interrupted
from firetree.launch import ECHO_S, tell_launcher
from firetree.peers import RollCall, Stop

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Stopping:
    """Listens for `SIGNALS` while it is entered, in the main thread.

    A rank that gets a signal tells all others before its next step, and all end before the step after
    that. No rank can have begun it by then, since each step sums over all ranks. With local steps only
    every `every`-th step does, so ranks look and end only there.

    Args:
        roll: by which ranks tell each other; None for a single rank.
        every: steps from one sum over all ranks to the next.
        grace_s: seconds that the process may live after a signal.
    """

    def __init__(self, roll: RollCall | None, every: int, grace_s: float):
        self._roll = roll
        self._every = every
        self._grace_s = grace_s
        self._number: int | None = None

    def __enter__(self) -> Stopping:
        self._arriving, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = {
            number: signal.signal(number, self._note)
            for number in SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # as nohup asks for
        }
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno())
        self._thread = threading.Thread(target=self._listen, name="firetree-stop", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writer.close()
        self._thread.join()
        self._arriving.close()

    def requested_signal(self, step: int) -> int | None:
        """The signal for which all ranks end before this step, if any; call it before each step."""
        if step % self._every:
            return None
        roll = self._roll
        if roll is None:
            return self._number
        if roll.stop is None and self._number is not None:
            roll.tell_stop(Stop(step + self._every, self._number))
        return roll.stop.number if roll.stop and roll.stop.step <= step else None

    def _note(self, number: int, _: object) -> None:
        self._number = self._number or number

    def _listen(self) -> None:
        """End the process `grace_s` after the first signal, or at a Ctrl-C after it."""
        first = self._arriving.recv(1)
        if not first:
            return
        since_s = time.monotonic()
        while (left_s := since_s + self._grace_s - time.monotonic()) > 0:
            self._arriving.settimeout(left_s)
            try:
                another = self._arriving.recv(1)
            except TimeoutError:
                break
            if not another:
                return
            if another[0] == signal.SIGINT and time.monotonic() > since_s + ECHO_S:
                break
        name, after_s = signal.Signals(first[0]).name, time.monotonic() - since_s
        error = Interrupted(
            first[0], f"{name}; no checkpoint was written in the {after_s:.1f} s since then"
        )
        if not tell_launcher(error, str(error)):
            output.tell(f"firetree: {error}")
        os._exit(error.exit_code)
