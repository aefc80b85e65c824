"""Why a worker failed: what it leaves to whoever started it, and which failure of several came first."""

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
"""The variable by which `launch` tells its workers that it looks at what they leave."""

_REPORT = "TORCHELASTIC_ERROR_FILE"
"""The variable with the file for a worker's reason, as torchrun names it."""

_SIGNALLED = 128
"""To this a worker that winds up after a signal adds its number, as its exit code."""

ECHO_S = 0.5
"""A second Ctrl-C within this time is the first one, passed on by a launcher too."""

_HEARING_S = 1.0
"""How long a worker that lost a peer stays: the first to end ends all, and others may know more."""


@dataclass(frozen=True, slots=True)
class Report:
    """Why a worker ended, in its own words.

    `lost` where it lost a peer, perhaps known by its rank; `traceback` of an error that nobody expects.
    """

    message: str
    lost: bool
    peer: int | None
    timestamp: int
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a worker; `code` is Popen's, and `told` means that it had been told to end."""

    rank: int
    code: int
    told: bool
    report: Report | None


def started_here() -> bool:
    """Whether `launch` started this process."""
    return LAUNCHER in os.environ


def tell_launcher(error: BaseException, message: str, traceback: str = "") -> bool:
    """Leave the reason of this worker's end to its launcher; False where nobody shows it."""
    if _REPORT not in os.environ:
        return False
    lost = isinstance(error, CollectiveError)
    peer = error.peer if isinstance(error, CollectiveError) else None
    report = Report(message, lost, peer, int(time.time()), traceback)
    try:
        Path(os.environ[_REPORT]).write_text(json.dumps(asdict(report)), encoding="utf-8")
    except OSError:  # its disk is full, or a launcher that is no more has left the variable
        return False
    if lost:
        time.sleep(_HEARING_S)
    return started_here()


def report_variable(file: Path) -> dict[str, str]:
    """What a worker's environment needs for `tell_launcher` to use the file."""
    return {_REPORT: str(file)}


def read_report(file: Path) -> Report | None:
    """What a worker left, or None where it left nothing, or died while writing."""
    try:
        return Report(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def first_cause(failures: Sequence[Failure]) -> UserError:
    """What `_first` of the failures was; they come in the order in which they happened."""
    return _error(_first(failures))


def interruption(failures: Sequence[Failure]) -> Interrupted | None:
    """The signal for which the workers ended by themselves, where that is the first cause."""
    first = _first(failures)
    if first.report is None or first.code <= _SIGNALLED:
        return None
    return Interrupted(first.code - _SIGNALLED, first.report.message)


def _first(failures: Sequence[Failure]) -> Failure:
    """The failure that the others followed from.

    A worker without a report that had been told to end failed because of another one, and so did one
    that lost a peer which itself reports a failure. Of the others, most know who was lost.
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
    """A worker's traceback, as the cause of the error that is raised for it."""


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
    return WorkerLostError(f"worker {failure.rank} {_end(failure.code)}; the others were ended")


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was {'killed' if code == -signal.SIGKILL else 'ended'} by {name}"
