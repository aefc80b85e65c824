"""Starts local workers as child processes, and says once why one failed.

All workers are the same command with the same arguments; the environment gives each its rank. Their
rendezvous is a socket on 127.0.0.1, opened here and handed to rank 0, so no other host can join.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from firetree.errors import Interrupted, UserError
from firetree.launch.failure import (
    ECHO_S,
    LAUNCHER,
    Failure,
    first_cause,
    interruption,
    read_report,
    report_variable,
    started_here,
)
from firetree.launch.rank_info import STORE_SOCKET, RankInfo, master_port, port_refused
from firetree.processes import end_with_parent, ending_with_us

FIRETREE = (sys.executable, "-P", "-m", "firetree")
"""The command; -P keeps the current folder from hiding installed libraries."""

_END_S = 5.0
"""Seconds that workers have to end once told to, before they are killed."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that end the job; they are passed on, and workers handle them."""

_HOST = "127.0.0.1"

_OPEN_FILES = 64
"""Open files that a worker needs; with fewer, errors of Gloo and its store are unclear."""


Hear = Callable[[bytes], object]


def launch(
    workers: int,
    arguments: Sequence[str],
    hear: Hear | None = None,
    grace_s: float = 0.0,
    holds_port: bool = True,
    hearing_s: float = 0.0,
) -> None:
    """Run `firetree arguments…` as `workers` local processes and wait for all of them.

    After a signal the workers have `grace_s` and a little more to end by themselves. `hear` is told
    each line that rank 0 writes to standard output, in its place. Rank 0 gets the socket where they
    meet, but where it is to open it by itself: then nobody `holds_port`. Once one has failed, the others
    have `hearing_s` to notice and say so before they are ended.

    Raises:
        UserError: the first worker's own failure, the port in MASTER_PORT is in use, or too few open
            files are allowed.
        Interrupted: a signal ended the job.
    """
    _check_open_files()
    with ExitStack() as stack:
        signals = stack.enter_context(_arriving_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="firetree-")))
        job = stack.enter_context(_Job(folder, signals, hear))
        job.start(workers, arguments, holds_port)
        number = job.wait_for_trouble()
        if number is not None:
            job.end(number, grace_s + _END_S)
            reports = [failure.report.message for failure in job.failures if failure.report]
            raise Interrupted(number, *reports[:1])
        meanwhile = job.wait_for_others(hearing_s)
        meanwhile = job.end(signal.SIGTERM, _END_S) or meanwhile
        if job.failures:
            cause = interruption(job.failures) or first_cause(job.failures)
            raise Interrupted(meanwhile, str(cause)) if meanwhile else cause


def _check_open_files() -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed < _OPEN_FILES:
        raise UserError(
            f"only {allowed} open files are allowed; expected {_OPEN_FILES} or more, as by "
            f"ulimit -n {_OPEN_FILES}"
        )


class _Job:
    """The workers, from their start to the last one's end, and the failures in their order."""

    def __init__(self, folder: Path, signals: socket.socket, hear: Hear | None) -> None:
        self.failures: list[Failure] = []
        self._folder, self._signals, self._hear = folder, signals, hear
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._output: IO[bytes] | None = None
        self._rest = b""
        self._told = False

    def __enter__(self) -> _Job:
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        self._hear = None  # whose failure may be what ends the job
        for process in self._running.values():
            process.kill()
        while self._running:
            self._wait(None)
        self._selector.close()
        if self._output:
            self._output.close()

    def start(self, workers: int, arguments: Sequence[str], holds_port: bool) -> None:
        """Start all; rank 0 gets the socket where they meet, or the port is free."""
        with _listener(master_port(os.environ, default=0)) as listener:
            port = listener.getsockname()[1]
            if not holds_port:
                listener.close()
            for rank in range(workers):
                passed = listener if rank == 0 and holds_port else None
                self._start(rank, workers, arguments, port, passed)

    def _start(
        self,
        rank: int,
        workers: int,
        arguments: Sequence[str],
        port: int,
        listener: socket.socket | None,
    ) -> None:
        store = {STORE_SOCKET: str(listener.fileno())} if listener else {}
        process = subprocess.Popen(
            [*FIRETREE, *arguments],
            env={
                **_own_environ(),
                **_rank_variables(rank, workers, port),
                **report_variable(self._report_file(rank)),
                LAUNCHER: str(os.getpid()),
                **store,
            },
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._hear and rank == 0 else None,
            pass_fds=[listener.fileno()] if listener else [],
            start_new_session=True,  # Ctrl-C reaches them once, through us
            preexec_fn=ending_with_us(signal.SIGKILL),
        )
        self._running[rank] = process
        end = os.pidfd_open(process.pid)
        self._selector.register(end, selectors.EVENT_READ, rank)
        if process.stdout:
            self._output = process.stdout
            os.set_blocking(self._output.fileno(), False)
            self._selector.register(self._output, selectors.EVENT_READ)

    def _report_file(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.json"

    def wait_for_trouble(self) -> int | None:
        """Wait until all have ended, one has failed, or a signal has come, which is given."""
        while self._running and not self.failures:
            if number := self._wait(None):
                return number
        return None

    def wait_for_others(self, limit_s: float) -> int | None:
        """Wait until all have ended, or a signal has come, which is given."""
        since_s = time.monotonic()
        while self._running and (left_s := since_s + limit_s - time.monotonic()) > 0:
            if number := self._wait(left_s):
                return number
        return None

    def end(self, number: int, limit_s: float) -> int | None:
        """Send those that still run a signal; kill them after the limit, or at Ctrl-C after that.

        Other signals may come twice, as from `timeout`. Gives the last that came meanwhile.
        """
        self._told, meanwhile = True, None
        for process in self._running.values():
            process.send_signal(number)
        since_s = time.monotonic()
        while self._running and (left_s := since_s + limit_s - time.monotonic()) > 0:
            another = self._wait(left_s)
            meanwhile = another or meanwhile
            if another == signal.SIGINT and time.monotonic() > since_s + ECHO_S:
                break
        while self._forward():
            pass
        return meanwhile

    def _wait(self, limit_s: float | None) -> int | None:
        """Wait until something ends or a signal comes; gives the signal."""
        number = None
        for key, _ in self._selector.select(limit_s):
            if key.fileobj is self._signals:
                number = self._signals.recv(1)[0]
            elif key.fileobj is self._output:
                self._forward()
            else:
                self._selector.unregister(key.fileobj)
                os.close(key.fd)
                self._note_end(key.data)
        return number

    def _forward(self) -> bool:
        """Tell `hear` the lines that have arrived; False where none has."""
        if self._output is None or (data := self._output.read(1 << 16)) is None:
            return False
        if not data:
            self._selector.unregister(self._output)
            self._output.close()
            self._output, data = None, b"\n" if self._rest else b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._hear:
                self._hear(line)
        return bool(data)

    def _note_end(self, rank: int) -> None:
        code = self._running.pop(rank).wait()
        if code:
            report = read_report(self._report_file(rank))
            self.failures.append(Failure(rank, code, self._told, report))


def _own_environ() -> dict[str, str]:
    """The environment without torchrun's variables for workers, as it may have started us."""
    return {name: it for name, it in os.environ.items() if not name.startswith("TORCHELASTIC_")}


def _rank_variables(rank: int, workers: int, port: int) -> Mapping[str, str]:
    variables = RankInfo(rank, workers, workers, _HOST, port, rank).variables()
    return {**variables, "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise port_refused(port, error) from error


@contextmanager
def _arriving_signals() -> Iterator[socket.socket]:
    """A socket from which each signal that ends the job can be read as a byte.

    Only the main thread gets signals; a job of another thread ends with its process.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        if threading.current_thread() is not threading.main_thread():
            yield reader
            return
        handlers = {
            number: signal.signal(number, lambda *_: None)
            for number in _PASSED_ON
            if signal.getsignal(number) not in (signal.SIG_IGN, None)  # as nohup asks for
        }
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def follow_launcher() -> None:
    """In a worker of a local launcher: end at once when told to, and never outlive it."""
    if not started_here() and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
