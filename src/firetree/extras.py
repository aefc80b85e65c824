"""Packages that are there only if asked for, as in `pip install 'firetree[pages]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from firetree.errors import UserError


@contextmanager
def extra(name: str, deed: str) -> Iterator[None]:
    """Import an extra's packages within.

    Args:
        name: the extra, as pyproject.toml has it.
        deed: what cannot be done without, as in `make pages`.

    Raises:
        UserError: one of the packages is missing or broken.
    """
    try:
        yield
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot {deed}: {reason}; pip install 'firetree[{name}]'") from error
