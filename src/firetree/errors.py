"""Errors that a user can cause, each ending in one clear line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, what was expected, and what to do, in one line; the command ends with code 2."""

    exit_code = 2


class RunFailedError(UserError):
    """A run that started properly and then could not go on; the command ends with code 1."""

    exit_code = 1


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest right one, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {', '.join(known)}"
