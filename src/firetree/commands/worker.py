"""A worker process of the library: it runs the call that its parent process wrote to a file."""

from __future__ import annotations

from pathlib import Path

from firetree import launch
from firetree.commands.display import Display
from firetree.errors import UserError
from firetree.training.progress import relayed


def run(arguments: list[str]) -> None:
    """Run the call in the file that the argument names."""
    if len(arguments) != 1:
        raise UserError("expected the file of a call, which firetree writes for its workers")
    with Display() as display:
        launch.answer_call(Path(arguments[0]), relayed(display))
