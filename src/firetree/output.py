"""What people see: names of strangers' files, classes and hosts must not steer their terminal.

All that the command prints passes through here, but for what other programs print in the lab.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from firetree.errors import RunFailedError

_STEERING = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 controls, line and paragraph separators, marks that turn the direction of writing, and
surrogates, as which Python has bytes that are no UTF-8."""


def printable(text: str, keep: str = "") -> str:
    """The text with `\\x1b` and the like for signs that steer a terminal, except those to keep.

    JSON stays JSON: of these, its strings can hold only such as it too writes `\\u009b`.
    """
    return _STEERING.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if sign < " " else f"\\u{ord(sign):04x}"


def show(page: str) -> None:
    """Print a page of lines."""
    with to_standard_output():
        print(printable(page, keep="\n\t"), flush=True)


@contextmanager
def to_standard_output() -> Iterator[None]:
    """Around what writes there: RunFailedError where it is full; whoever reads may go (BrokenPipeError)."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunFailedError(f"cannot write to standard output: {error.strerror}") from error


def tell(text: str, keep: str = "") -> None:
    """Print a line on standard error, or more where line ends are to keep; where it cannot be written,
    nobody can be told."""
    with contextlib.suppress(OSError):
        print(printable(text, keep), file=sys.stderr, flush=True)


def tell_start(what: str) -> None:
    """Say on standard error what takes its time."""
    tell(f"{what} …")


def make_ready() -> None:
    """Let both outputs escape what their encoding lacks, as ASCII does where the locale is C.

    Standard streams that are closed lead nowhere from now on: the next file that is opened would
    otherwise take their number, and with it what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
