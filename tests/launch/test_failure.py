"""Of several failures, the one that the others followed from is told."""

from __future__ import annotations

import signal

import pytest

from firetree.errors import RunFailedError, UnexpectedError, UserError, WorkerLostError
from firetree.launch.failure import Failure, Report, first_cause

KILLED, TERMINATED = -signal.SIGKILL, -signal.SIGTERM


def failure(
    rank: int,
    code: int,
    message: str | None = None,
    *,
    told: bool = False,
    lost: bool = False,
    peer: int | None = None,
) -> Failure:
    report = None if message is None else Report(message, lost, peer, timestamp=0)
    return Failure(rank, code, told, report)


def test_a_workers_traceback_is_the_cause_of_its_unexpected_error() -> None:
    report = Report("unexpected KeyError: 'x'", False, None, 0, "Traceback: in worker.py")
    cause = first_cause([Failure(0, 1, False, report)])
    assert isinstance(cause, UnexpectedError)
    assert "in worker.py" in str(cause.__cause__)


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        (
            [failure(1, KILLED), failure(0, 1, "rank 1 went away", lost=True, peer=1, told=True)],
            WorkerLostError,
            "worker 1 was killed by SIGKILL; the others were ended",
        ),
        (
            [failure(2, TERMINATED), failure(0, TERMINATED, told=True)],
            WorkerLostError,
            "worker 2 was ended by SIGTERM; the others were ended",
        ),
        (
            [failure(0, 1, "rank 1 went away", lost=True, peer=1), failure(1, 2, "no such file")],
            UserError,
            "no such file",
        ),
        (  # worker 1 stands still: the others give it up, and it has to be killed
            [failure(0, 1, "rank 1 is silent", lost=True, peer=1), failure(1, KILLED, told=True)],
            WorkerLostError,
            "rank 1 is silent",
        ),
        (
            [failure(0, 143, "interrupted", told=True), failure(1, 1, "the loss is nan")],
            RunFailedError,
            "the loss is nan",
        ),
        (
            [failure(1, 3), failure(0, TERMINATED, told=True)],
            WorkerLostError,
            "worker 1 ended with exit code 3; the others were ended",
        ),
    ],
    ids=["killed", "terminated", "own mistake", "stopped", "not a number", "exit code"],
)
def test_the_first_cause_is_told(failures: list[Failure], kind: type, message: str) -> None:
    cause = first_cause(failures)
    assert type(cause) is kind
    assert str(cause) == message
