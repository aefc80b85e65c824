"""The run folder of a watched script, as rank 0 opens it before the first step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from firetree import trace
from firetree.durable import lock_folder, new_folder, write_durably
from firetree.errors import UserError
from firetree.trace import TraceHeader

_SIGNS = ("recipe.toml", "script.json", "trace")
"""Each is of a run."""


def check_holds_no_run(path: Path) -> None:
    """Raise UserError where a folder holds a run."""
    if any((path / sign).exists() for sign in _SIGNS):
        raise UserError(f"run folder {path} holds a run already; choose another")


def open_script_folder(
    path: Path, headers: Sequence[TraceHeader], about: Mapping[str, Any]
) -> tuple[int, str | None]:
    """Make the folder and begin its traces.

    Args:
        path: of a folder that holds no run, or of none.
        headers: one for each rank.
        about: what script.json says.

    Returns:
        A descriptor of the folder, which is locked until all its copies are closed; and a line for the
        user where it cannot be locked.

    Raises:
        UserError: the folder holds a run, is in use, or cannot be written.
    """
    from firetree.environment import describe_environment  # imports torch

    try:
        with ExitStack() as undo:
            new_folder(path)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, folder)
            remark = lock_folder(folder, path)
            check_holds_no_run(path)
            environment = describe_environment(None, len(headers))
            for name, document in (("script", about), ("environment", environment)):
                write_durably(path / f"{name}.json", json.dumps(document, indent=1).encode())
            for header in headers:
                trace.begin_trace(path, header, first_step=0)
            undo.pop_all()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write run folder {path}: {reason}; see that it can be written, or choose another"
        ) from error
    return folder, remark
