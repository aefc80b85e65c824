"""Run the real command in real processes, as a user would."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

COMMAND = (sys.executable, "-m", "firetree")
LIMIT_S = 120.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch.distributed", "torch._dynamo", "firetree.cli"])


def firetree(*arguments: object, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run to the end: exit code, standard output and standard error.

    Without variables of its own, which a fresh interpreter might read, the command is forked from a
    process that has imported it before: most of a short command's time is its imports.
    """
    if environ is None:
        return _forked([*map(str, arguments)])
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, **environ},
    )
    return done.returncode, done.stdout, done.stderr


def _forked(arguments: list[str]) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = FORKS.Process(target=_command, args=(arguments, dict(os.environ), out, err))
        process.start()
        process.join(LIMIT_S)
        if process.is_alive():
            kill_whole_job(process.pid)
            raise TimeoutError(f"firetree {' '.join(arguments)} took over {LIMIT_S:.0f} s")
        return process.exitcode, out.read_text(), err.read_text()


def _command(arguments: list[str], environ: Mapping[str, str], out: Path, err: Path) -> None:
    """In the new process: what `python -m firetree` does."""
    os.environ.clear()
    os.environ.update(environ)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["firetree", *arguments]
    from firetree.cli import main

    main()


def start(*arguments: object, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start without waiting; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )


def descendants(pid: int) -> list[int]:
    """Processes started by `pid`, and by those."""
    try:
        tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
        texts = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [*children, *(deeper for child in children for deeper in descendants(child))]


def alive(pid: int) -> bool:
    """Whether the process still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill_whole_job(pid: int) -> None:
    """Kill a process and all that it started, and wait for them to be gone."""
    processes = [pid, *descendants(pid)]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while any(map(alive, processes)):
        time.sleep(0.01)


def last_weights(run_dir: Path) -> bytes:
    """The bytes of the last checkpoint's weights."""
    newest = max((run_dir / "checkpoints").glob("step-*"))
    return (newest / "model.safetensors").read_bytes()


def resumed_weights(asked: tuple[object, ...], run_dir: Path, step: int, steps: int) -> bytes:
    """Weights at the end of a run, which one that is broken off after `step` and resumed ends with too."""
    code, _, err = firetree(*asked)
    assert (code, err) == (0, "")
    whole = last_weights(run_dir)
    forget_after(run_dir, step)
    code, out, err = firetree(*asked, "--resume")
    assert code == 0, err
    assert f"resumed at step {step} of {steps}" in out
    assert last_weights(run_dir) == whole
    return whole


def forget_after(run_dir: Path, step: int) -> None:
    """Leave a run's folder with no checkpoint after that of `step`, as if it had been broken off."""
    for folder in (run_dir / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
