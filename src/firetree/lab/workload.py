"""Run one command on every host of a lab at once, and say which host failed.

Output is forwarded by lines: host 0's unchanged, so that it can be piped, the others' after their host's
name. One loop waits for output, exits, faults and the end of the grace period, so there are no races.
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
"""Seconds that other hosts may continue after the first failure, so that they can report it too."""


def require_command(command: Sequence[str]) -> None:
    """Check that the command can be started (UserError if not)."""
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
    """Run the command on every host until all have ended, and inject the faults at their times.

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
    """The binary stream of one of this process's outputs; in a notebook, that of the original stdout."""
    stream.flush()
    if not hasattr(stream, "buffer"):
        stream = cast(TextIO, sys.__stdout__)
    return stream.buffer


class _Run:
    """A run of the command on all hosts."""

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
        """Start the grace period at the first failure; stop at once if only paused hosts are left."""
        resumed_later = {fault.host for _, fault in self._faults if fault.action == "resume"}
        if self._running.keys() <= self._paused - resumed_later:
            self._give_up_at = time.monotonic()
        elif self._failures and self._give_up_at is None:
            self._give_up_at = time.monotonic() + self._grace_s


class _Output:
    """A pipe from a host, forwarded in whole lines after the host's name."""

    def __init__(self, pipe: IO[bytes], sink: BinaryIO, mark: bytes) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.pipe = pipe
        self._sink = sink
        self._mark = mark
        self._rest = b""

    def forward(self) -> bool:
        """Forward the complete lines that have arrived; False if there is nothing more to read."""
        try:
            data = os.read(self.pipe.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._write(lines)
        return bool(data)

    def finish(self) -> None:
        """Forward all that has arrived, including a last line without a line end."""
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
