"""One worker of a call, as the process that started it tells it."""

from __future__ import annotations

from pathlib import Path

from firetree import launch
from firetree.commands.display import Display
from firetree.errors import UserError
from firetree.training.progress import relayed


def run(arguments: list[str]) -> None:
    """Do what the call in a file asks."""
    if len(arguments) != 1:
        raise UserError("expected the file of a call, which firetree writes for its workers")
    with Display() as display:
        launch.answer_call(Path(arguments[0]), relayed(display))
