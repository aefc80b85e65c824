"""Run one command on every host of a lab at once, and say which host failed.

Output comes line by line: host 0's as it is, so that it can be piped, and each other host's behind
its name. One loop waits for output, ends, faults and the end of the grace, so nothing races.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, TextIO, cast

from firetree.errors import RunFailedError, UserError
from firetree.lab.faults import Fault
from firetree.lab.lab import Lab
from firetree.launch.failure import Failure, first_cause, read_report, report_variable

GRACE_S = 60.0
"""How long hosts may go on after the first failure: they may have something to say about it."""


def require_command(command: Sequence[str]) -> None:
    """See that the command can be started (UserError where it cannot)."""
    if not command:
        raise UserError("no command for the hosts; expected a program and its arguments")
    if shutil.which(command[0]) is None:
        raise UserError(f"no command '{command[0]}'; expected a program on PATH, or a path to one")


def run_command(
    lab: Lab,
    command: Sequence[str],
    faults: Sequence[Fault] = (),
    grace_s: float = GRACE_S,
    *,
    out: BinaryIO | None = None,
    err: BinaryIO | None = None,
) -> None:
    """Run the command once a host until all have ended, with the faults at their seconds.

    What hosts print goes to `out` and `err`, by default this process's own.

    Once a host failed, the others are ended after `grace_s`; where only hosts are left that a fault
    paused for good, at once. That a fault killed or paused a host is no failure of it.

    Raises:
        UserError: the command does not exist, or the first host to fail did so with exit code 2; with
            what it left to its launcher, as firetree does, where it left anything.
        RunFailedError: the first host to fail did so in another way.
    """
    require_command(command)
    with contextlib.ExitStack() as files:
        run = _Run(lab, grace_s, files, (out or _own(sys.stdout), err or _own(sys.stderr)))
        for host in range(lab.network.size):
            run.start(host, command)
        run.finish(faults)


def _own(stream: TextIO) -> BinaryIO:
    """The bytes behind one of this process's outputs; a notebook's has none, but the system's."""
    stream.flush()
    if not hasattr(stream, "buffer"):
        stream = cast(TextIO, sys.__stdout__)
    return stream.buffer


class _Run:
    """The command on all hosts, from its start to the last host's end."""

    def __init__(
        self,
        lab: Lab,
        grace_s: float,
        files: contextlib.ExitStack,
        sinks: tuple[BinaryIO, BinaryIO],
    ) -> None:
        self._lab = lab
        self._grace_s = grace_s
        self._sinks = sinks
        self._files = files
        self._selector = files.enter_context(selectors.DefaultSelector())
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._outputs: list[_Output] = []
        self._faults: list[tuple[float, Fault]] = []
        self._paused: set[int] = set()
        self._killed: set[int] = set()
        self._failures: list[Failure] = []
        self._reports = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="firetree-")))
        self._give_up_at: float | None = None

    def start(self, host: int, command: Sequence[str]) -> None:
        process = self._lab.start(
            host,
            command,
            env=report_variable(self._report_of(host)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._running[host] = process
        mark = f"host {host}: ".encode() if host else b""
        for pipe, sink in zip((process.stdout, process.stderr), self._sinks, strict=True):
            output = _Output(pipe, sink, mark)
            self._outputs.append(output)
            self._files.enter_context(pipe)
            self._selector.register(pipe, selectors.EVENT_READ, partial(self._forward, output))
        end = os.pidfd_open(process.pid)
        self._files.callback(os.close, end)
        self._selector.register(end, selectors.EVENT_READ, partial(self._note_end, host, end))

    def finish(self, faults: Sequence[Fault]) -> None:
        start = time.monotonic()
        self._faults = sorted(((start + f.after_s, f) for f in faults), key=lambda due: due[0])
        while self._running and not _past(self._give_up_at):
            moments = [*(at for at, _ in self._faults[:1]), *filter(None, [self._give_up_at])]
            limit_s = max(0.0, min(moments) - time.monotonic()) if moments else None
            for key, _ in self._selector.select(limit_s):
                key.data()
            while self._faults and _past(self._faults[0][0]):
                self._strike(self._faults.pop(0)[1])
            self._set_limit()
        self._lab.end([*self._running])
        for output in self._outputs:
            output.finish()
        if self._failures:
            raise _error(self._failures, sorted(self._running.keys() - self._paused), self._grace_s)

    def _report_of(self, host: int) -> Path:
        return self._reports / f"host-{host}.json"

    def _forward(self, output: _Output) -> None:
        if not output.forward():
            self._selector.unregister(output.pipe)

    def _note_end(self, host: int, end: int) -> None:
        self._selector.unregister(end)
        code = self._running.pop(host).wait()
        if code and host not in self._killed:
            report = read_report(self._report_of(host))
            self._failures.append(Failure(host, code, told=False, report=report))

    def _strike(self, fault: Fault) -> None:
        fault.strike(self._lab)
        if fault.action == "kill":
            self._killed.add(fault.host)
        elif fault.action == "pause":
            self._paused.add(fault.host)
        elif fault.action == "resume":
            self._paused.discard(fault.host)

    def _set_limit(self) -> None:
        """Let the grace begin with the first failure, and end where nothing is left to wait for."""
        resumed_later = {fault.host for _, fault in self._faults if fault.action == "resume"}
        if self._running.keys() <= self._paused - resumed_later:
            self._give_up_at = time.monotonic()
        elif self._failures and self._give_up_at is None:
            self._give_up_at = time.monotonic() + self._grace_s


class _Output:
    """A pipe from a host, passed on in whole lines behind the host's mark."""

    def __init__(self, pipe: IO[bytes], sink: BinaryIO, mark: bytes) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.pipe = pipe
        self._sink = sink
        self._mark = mark
        self._rest = b""

    def forward(self) -> bool:
        """Pass on the whole lines of what has arrived; False where no more will come."""
        try:
            data = os.read(self.pipe.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._write(lines)
        return bool(data)

    def finish(self) -> None:
        """Pass on all that has arrived, also a last line without an end."""
        while self.forward():
            pass
        self._write([self._rest] if self._rest else [])

    def _write(self, lines: Sequence[bytes]) -> None:
        self._sink.write(b"".join(self._mark + line + b"\n" for line in lines))
        self._sink.flush()


def _past(moment: float | None) -> bool:
    return moment is not None and time.monotonic() >= moment


def _error(failures: Sequence[Failure], ended: Sequence[int], grace_s: float) -> UserError:
    names = ", ".join(map(str, ended))
    others = f"; after {grace_s:g} s more these still ran and were ended: {names}" if ended else ""
    if any(failure.report for failure in failures):
        cause = first_cause(failures)
        return type(cause)(f"{cause}{others}")
    host, code = failures[0].rank, failures[0].code
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    kind = UserError if code == UserError.exit_code else RunFailedError
    return kind(f"host {host} {how}{others}")
