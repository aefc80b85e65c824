"""What long work says while it is under way: a line at a time, to a callback or to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]
"""Hears what is being done, a line each time."""


def log(line: str) -> None:
    """The default progress: the logger `firetree`, at level INFO."""
    logging.getLogger("firetree").info("%s", line)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep what libraries log meanwhile from users, except errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
