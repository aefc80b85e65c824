"""What long work says while it is under way: a line at a time, to a callback or to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

Progress = Callable[[str], None]
"""Hears what is being done, a line each time."""


def log(line: str) -> None:
    """The default progress: the logger `firetree`, at level INFO."""
    logging.getLogger("firetree").info("%s", line)
