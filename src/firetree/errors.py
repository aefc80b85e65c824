"""Errors that a user can cause, each ending in one clear line instead of a traceback."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, what was expected, and what to do, in one line; the command ends with code 2."""

    exit_code = 2


class RunFailedError(UserError):
    """A run that started properly and then could not go on; the command ends with code 1."""

    exit_code = 1


class CollectiveError(RunFailedError, RuntimeError):
    """A peer did not do its part in time, or went away; names the rank and the chunk.

    It is a RuntimeError as well, like all that torch.distributed raises.

    `peer` is that rank among all, None where only the backend knows it; `where` what this rank was at, and
    `within_s` how long it waited, where that is why it gave up.
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
    """A worker died, or lost another one: started again, the job may well go on."""


class UnexpectedError(RunFailedError):
    """A defect of firetree's own in a worker, whose traceback is the cause."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end; the text may say what the work had come to."""

    def __init__(self, number: int, message: str | None = None):
        super().__init__(message or f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class ArgumentError(UserError):
    """An argument has a value that cannot be; the command puts its option in the argument's place.

    Args:
        argument: the parameter's name, as in `density`.
        problem: the value, what was expected, and what to do, as in `is 0; expected more than 0`.
    """

    def __init__(self, argument: str, problem: str):
        super().__init__(f"{argument} {problem}")
        self.argument, self.problem = argument, problem


def nearest(wrong: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The end of a message about an unknown name: the nearest right one, `otherwise`, or all of them."""
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
"""What libraries say where the machine lacks something, and what we say."""


def lack(error: BaseException) -> str | None:
    """What the machine has too little of and what to do, where an error comes from that."""
    said = " ".join(str(error).split()) or type(error).__name__
    for signs, words in _LACKS.items():
        if any(sign in said for sign in signs):
            return f"{words} ({said[:120]})"
    if isinstance(error, UnicodeEncodeError):
        part = error.object[max(0, error.start - 20) : error.end + 20]
        return f"the name {part!r} cannot be written in {error.encoding}; rename it, or set PYTHONUTF8=1"
    return None
