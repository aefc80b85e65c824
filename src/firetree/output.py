"""Print with terminal control characters escaped: names of files, classes or hosts may contain them.

All output of the command passes through here, except what other programs print in the lab.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from firetree.errors import RunFailedError

_STEERING = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 controls, line and paragraph separators, bidirectional marks, and surrogates, by which
Python represents bytes that are not UTF-8."""


def printable(text: str, keep: str = "") -> str:
    """Escape control characters as `\\x1b` or `\\u009b`, except those in `keep`.

    JSON stays valid: its strings contain none that are escaped as `\\x1b`.
    """
    return _STEERING.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if sign < " " else f"\\u{ord(sign):04x}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def show(page: str, end: str = "\n") -> None:
    """Print a page of lines, or a part of one."""
    with to_standard_output():
        print(printable(page, keep="\n\t"), end=end, flush=True)


@contextmanager
def to_standard_output() -> Iterator[None]:
    """Turn a failed write, such as to a full disk, into RunFailedError; BrokenPipeError passes through."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunFailedError(f"cannot write to standard output: {error.strerror}") from error


def tell(text: str, keep: str = "") -> None:
    """Print a line on standard error, or several if `keep` has the line end; ignore a failed write."""
    with contextlib.suppress(OSError):
        print(printable(text, keep), file=sys.stderr, flush=True)


def tell_start(what: str) -> None:
    """Say on standard error that a longer task begins."""
    tell(f"{what} …")


def make_ready() -> None:
    """Escape characters that the output encoding lacks, as ASCII does in the C locale.

    Closed standard streams are opened to /dev/null. Otherwise the next opened file would take their
    number and receive what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
