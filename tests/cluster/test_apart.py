"""Runs that another process makes end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MAKER = """
from pathlib import Path
from firetree.training import load_recipe, with_fields
from firetree.training.apart import train_apart
recipe = with_fields(load_recipe("digits"), {{"optim.steps": 1_000_000, "checkpoint_steps": 1}})
train_apart(recipe, Path({run!r}))
"""


def trainings(run: Path) -> list[int]:
    """The processes that were started with this run's job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{run}.job.json".encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def wait_until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_training_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    maker = subprocess.Popen([sys.executable, "-c", MAKER.format(run=str(run))])
    try:
        wait_until((run / "checkpoints").exists)
        assert trainings(run)
        maker.terminate()
        maker.wait()
        wait_until(lambda: not trainings(run))
    finally:
        maker.kill()
        maker.wait()
        for process in trainings(run):
            os.kill(process, signal.SIGKILL)
