"""A function of firetree's own called on workers; the first worker's answer comes back.

What is asked, what is answered and what is said meanwhile goes through files in a folder. Each worker is
`firetree serve FOLDER`, which calls `serve`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from firetree.launch.launcher import follow_launcher
from firetree.launch.rank_info import ALONE, find_rank_info
from firetree.progress import Progress

_CALL, _ANSWER, _PROGRESS = "call.json", "answer.json", "progress"
_END = "\0"


def call(
    start: Callable[[Sequence[str]], None],
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    progress: Progress,
) -> Any:
    """The answer of the first of several workers, on all of which a function is called.

    Args:
        start: runs the command `firetree` with these arguments as each worker, and waits for all.
        function: is called with its worker's `RankInfo`, a progress, and the arguments; a function of a
            module, by whose name workers find it. It gives what JSON can hold.
        arguments: what JSON can hold.
        progress: hears what the first worker says.

    Raises:
        UserError: why the first worker to fail did so.
    """
    with TemporaryDirectory(prefix="firetree-") as name:
        folder = Path(name)
        document = {
            "module": function.__module__,
            "function": function.__name__,
            "arguments": dict(arguments),
        }
        (folder / _CALL).write_text(json.dumps(document), encoding="utf-8")
        with _heard(folder / _PROGRESS, progress):
            start(["serve", name])
        return json.loads((folder / _ANSWER).read_text(encoding="utf-8"))


def serve(folder: Path) -> None:
    """As one of the workers, call what is asked; the first one leaves the answer."""
    follow_launcher()
    rank_info = find_rank_info(os.environ) or ALONE
    document = json.loads((folder / _CALL).read_text(encoding="utf-8"))
    function = getattr(import_module(document["module"]), document["function"])
    with (folder / _PROGRESS).open("w", encoding="utf-8", buffering=1) as pipe:

        def progress(line: str) -> None:
            pipe.write(f"{line}\n")

        answer = function(rank_info, progress, **document["arguments"])
    if rank_info.rank == 0:
        (folder / _ANSWER).write_text(json.dumps(answer), encoding="utf-8")


@contextmanager
def _heard(path: Path, progress: Progress) -> Iterator[None]:
    """Hand the lines on that are written to a pipe of that name meanwhile."""
    os.mkfifo(path)
    # For reading and writing: so opening waits for nobody, and reading goes on until the end is written.
    with os.fdopen(os.open(path, os.O_RDWR), "r", encoding="utf-8") as pipe:

        def hear() -> None:
            while _END not in (line := pipe.readline()):
                progress(line.rstrip("\n"))

        thread = threading.Thread(target=hear, name="firetree-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            path.write_text(f"{_END}\n", encoding="utf-8")  # perhaps behind a line broken off
            thread.join()
