"""A function of firetree's own called on workers; what the first one tells and answers comes back.

Each worker is `firetree worker CALL`, where CALL is a file that names the function and its arguments. The
first worker tells and answers on its standard output: each time a line of JSON behind a mark, as RFC 7464
has it, so that what libraries print beside it is told from it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from firetree.documents import parse_json, read_text
from firetree.launch.launcher import Hear, follow_launcher
from firetree.launch.rank_info import ALONE, find_rank_info

Tell = Callable[[Any], object]
"""Takes what JSON can hold."""

_MARK = "\x1e"
_TURN = Lock()


@dataclass(frozen=True, slots=True)
class _Call:
    """`heard` where somebody reads the first worker's output; `command` is the caller's command line."""

    module: str
    function: str
    arguments: dict[str, Any]
    heard: bool
    command: tuple[str, ...]


def call(
    start: Callable[[Sequence[str], Hear], object],
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    hear: Tell,
) -> Any:
    """The answer of the first of several workers, on all of which a function is called.

    Args:
        start: runs the command `firetree` with these arguments as each worker, hands each line of the
            first one's standard output on, and waits for all.
        function: is called with its worker's `RankInfo`, a `Tell`, and the arguments; a function of a
            module, by whose name workers find it. It gives what JSON can hold.
        arguments: what JSON can hold.
        hear: hears what the first worker tells, and the lines that libraries print there.

    Raises:
        UserError: why the first worker to fail did so.
    """
    answers: list[Any] = []
    with TemporaryDirectory(prefix="firetree-") as folder:
        file = Path(folder, "call.json")
        write_call(file, function, arguments, heard=True)
        start(["worker", str(file)], partial(_read, hear, answers.append))
    return answers[0]


def write_call(
    file: Path, function: Callable[..., Any], arguments: Mapping[str, Any], heard: bool = False
) -> None:
    """Write what `answer_call` does."""
    asked = _Call(function.__module__, function.__name__, dict(arguments), heard, tuple(sys.argv))
    file.write_text(json.dumps(asdict(asked), indent=1), encoding="utf-8")


def answer_call(file: Path, show: Tell) -> None:
    """As one of the workers, do what a call's file asks; `show` is told of it where nobody hears.

    Raises:
        UserError: the file has no call, or as the function.
    """
    follow_launcher()
    rank_info = find_rank_info(os.environ) or ALONE
    asked = parse_json(_Call, read_text(file, "call"), str(file))
    sys.argv = [*asked.command]  # what environment.json tells
    heard = asked.heard and rank_info.rank == 0
    function = getattr(import_module(asked.module), asked.function)
    answer = function(rank_info, _send if heard else show, **asked.arguments)
    if heard:
        _send({"answer": answer})


def _send(message: Any) -> None:
    with _TURN:
        sys.stdout.write(f"{_MARK}{json.dumps(message)}\n")
        sys.stdout.flush()


def _read(hear: Tell, answer: Tell, line: bytes) -> None:
    printed, _, text = line.decode(errors="replace").partition(_MARK)
    if printed:
        hear(printed)
    try:
        message = json.loads(text)
    except ValueError:  # no message, or one that its sender's death broke off
        return
    match message:
        case {"answer": answered}:
            answer(answered)
        case told:
            hear(told)
