"""Errors that a user can cause; each ends the command with one clear line, not a traceback."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, what was expected, and what to do, in one line; the command ends with code 2."""

    exit_code = 2


class RunFailedError(UserError):
    """A run started and then could not go on; the command ends with code 1."""

    exit_code = 1


class CollectiveError(RunFailedError, RuntimeError):
    """A peer did not do its part in time, or went away; names the rank and the chunk.

    It is a RuntimeError as well, like all errors of torch.distributed. `peer` is the peer's global rank,
    None where only the backend knows it. `where` says what this rank was doing; `within_s` is how long
    it waited, if it gave up.
    """

    def __init__(
        self,
        message: str,
        peer: int | None = None,
        where: str = "",
        within_s: float | None = None,
    ):
        super().__init__(message)
        self.peer, self.where, self.within_s = peer, where, within_s


class WorkerLostError(RunFailedError):
    """A worker died, or lost another one; a restart may help.

    `code` is the exit code of the one that died, 128 plus its number for a signal; None where it is not
    known.
    """

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code


class UnexpectedError(RunFailedError):
    """A bug in a worker; the cause has its traceback."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the work; the text may say how far it was."""

    def __init__(self, number: int, message: str | None = None):
        super().__init__(message or f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class ArgumentError(UserError):
    """An argument has a wrong value; the command names its option in the argument's place.

    Args:
        argument: the parameter's name, as in `density`.
        problem: the value, what was expected, and what to do, as in `is 0; expected more than 0`.
    """

    def __init__(self, argument: str, problem: str):
        super().__init__(f"{argument} {problem}")
        self.argument, self.problem = argument, problem


def nearest(wrong: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The end of a message about an unknown name: the nearest known one, `otherwise`, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return otherwise or f"; expected one of {', '.join(known)}"


_FILES = "Too many open files", "Failed to init uv loop", "fd_ != -1", "rv != -1"
_MEMORY = (
    *(
        "allocate memory",
        "out of memory",
        "bad_alloc",
        "MemoryError",
        "could not create a primitive",
        "failed to map segment",
    ),
    *("Overflow when unpacking", "size calculation overflowed"),
)
_THREADS = "can't start new thread", "Resource temporarily unavailable"

_LACKS = {
    _FILES: "too few open files are allowed; raise the limit with ulimit -n",
    _MEMORY: "out of memory; take a smaller batch, model or file, fewer workers, or raise the limit "
    "with ulimit -v",
    _THREADS: "too few threads are allowed; raise the limit with ulimit -u, or set OMP_NUM_THREADS "
    "lower",
}
"""What libraries say when a resource runs out, and what we say."""


def lack(error: BaseException) -> str | None:
    """The resource that ran out and what to do, if the error comes from one."""
    said = " ".join(str(error).split()) or type(error).__name__
    for signs, words in _LACKS.items():
        if any(sign in said for sign in signs):
            return f"{words} ({said[:120]})"
    if isinstance(error, UnicodeEncodeError):
        part = error.object[max(0, error.start - 20) : error.end + 20]
        return f"the name {part!r} cannot be written in {error.encoding}; rename it, or set PYTHONUTF8=1"
    return None
