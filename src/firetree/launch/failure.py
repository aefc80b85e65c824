"""Reports of failed workers to their launcher, and which of several failures came first."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from firetree.errors import (
    CollectiveError,
    Interrupted,
    RunFailedError,
    UnexpectedError,
    UserError,
    WorkerLostError,
)

LAUNCHER = "FIRETREE_LAUNCHER"
"""The variable by which `launch` tells its workers that it reads their reports."""

_REPORT = "TORCHELASTIC_ERROR_FILE"
"""The variable with the path of a worker's report, named as torchrun does."""

_SIGNALLED = 128
"""The exit code of a worker that ends in order after a signal is this plus the signal's number."""

ECHO_S = 0.5
"""A second Ctrl-C within this time is the first one, which a launcher has passed on too."""

_HEARING_S = 1.0
"""Seconds that a worker stays after it lost a peer: its end ends all, and others may know more."""


@dataclass(frozen=True, slots=True)
class Report:
    """Why a worker ended, in its own words.

    `lost` says that it lost a peer, whose rank is `peer` if known; `traceback` is that of a bug.
    """

    message: str
    lost: bool
    peer: int | None
    timestamp: int
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a worker; `code` is Popen's, and `told` says that it had been told to end."""

    rank: int
    code: int
    told: bool
    report: Report | None


def started_here() -> bool:
    """Whether `launch` started this process."""
    return LAUNCHER in os.environ


def tell_launcher(error: BaseException, message: str, traceback: str = "") -> bool:
    """Report why this worker ends to its launcher; False if no launcher will show it."""
    if _REPORT not in os.environ:
        return False
    lost = isinstance(error, CollectiveError)
    peer = error.peer if isinstance(error, CollectiveError) else None
    report = Report(message, lost, peer, int(time.time()), traceback)
    try:
        Path(os.environ[_REPORT]).write_text(json.dumps(asdict(report)), encoding="utf-8")
    except OSError:  # the disk is full, or the launcher is gone and only its variable is left
        return False
    if lost:
        time.sleep(_HEARING_S)
    return started_here()


def report_variable(file: Path) -> dict[str, str]:
    """The environment variable that makes `tell_launcher` use the file."""
    return {_REPORT: str(file)}


def read_report(file: Path) -> Report | None:
    """A worker's report; None if it wrote none, or died while writing."""
    try:
        return Report(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def first_cause(failures: Sequence[Failure]) -> UserError:
    """The error of the failure that caused the others; `failures` are in order of time."""
    return _error(_first(failures))


def interruption(failures: Sequence[Failure]) -> Interrupted | None:
    """The signal for which the workers ended by themselves, if that is the first cause."""
    first = _first(failures)
    if first.report is None or first.code <= _SIGNALLED:
        return None
    return Interrupted(first.code - _SIGNALLED, first.report.message)


def _first(failures: Sequence[Failure]) -> Failure:
    """The failure that caused the others.

    Two kinds are consequences: a worker without a report that had been told to end, and a worker that
    lost a peer which reports a failure itself. Of the rest, the peer that most workers lost decides.
    """
    reporting = {failure.rank for failure in failures if failure.report}
    accused = Counter(
        failure.report.peer for failure in failures if failure.report and failure.report.lost
    )

    def is_consequence(failure: Failure) -> tuple[bool, bool, int]:
        report = failure.report
        terminated = failure.code == _SIGNALLED + signal.SIGTERM
        did_as_told = failure.told and (not report or terminated)
        if report is None or not report.lost:
            return did_as_told, False, 0
        of_a_reporter = report.peer in reporting - {failure.rank}
        return did_as_told, of_a_reporter, len(failures) - accused[report.peer]

    return min(failures, key=is_consequence)


class _TracebackError(Exception):
    """A worker's traceback: the cause of the error that the launcher raises."""


def _error(failure: Failure) -> UserError:
    report = failure.report
    if report is not None:
        if report.lost:
            return WorkerLostError(report.message)
        if report.traceback:
            error = UnexpectedError(report.message)
            error.__cause__ = _TracebackError(f"\n{report.traceback}")
            return error
        ours = failure.code == UserError.exit_code
        return (UserError if ours else RunFailedError)(report.message)
    code = failure.code if failure.code > 0 else _SIGNALLED - failure.code
    text = f"worker {failure.rank} {_end(failure.code)}; the others were ended"
    return WorkerLostError(text, code)


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was {'killed' if code == -signal.SIGKILL else 'ended'} by {name}"
