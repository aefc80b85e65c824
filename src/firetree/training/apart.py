"""Training in a process of its own, for those who make many runs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from firetree.launch import FIRETREE, write_call
from firetree.processes import ending_with_us
from firetree.training.job import Job, work_as_told
from firetree.training.recipe import Recipe

_CLEAN_UP_S = 5.0


def log_of(run_dir: Path) -> Path:
    """Where what a run says is kept."""
    return run_dir.with_name(f"{run_dir.name}.log")


def job_command(recipe: Recipe, run_dir: Path, plan: str | None = None) -> list[str]:
    """The command of a worker that trains, or goes on where the run's folder is there already.

    Its job lies beside the folder; `plan` is as a `Job` has it. All ranks train, also where fewer would be
    faster, so that runs can be compared.
    """
    file = run_dir.with_name(f"{run_dir.name}.job.json")
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    job = Job(recipe, str(run_dir), run_dir.exists(), plan, if_slower="warn")
    write_call(file, work_as_told, asdict(job))
    return [*FIRETREE, "worker", str(file)]


def train_apart(
    recipe: Recipe, run_dir: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Train, or go on where the run's folder is there already; gives the exit code.

    What is said goes to `log_of` the folder; `environ` is beside this process's own.
    """
    return _run(job_command(recipe, run_dir), log_of(run_dir), environ)


def _run(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> int:
    with log.open("w", encoding="utf-8") as file:
        print(shlex.join(command), file=file, flush=True)
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=file,
            stderr=file,
            preexec_fn=ending_with_us(signal.SIGTERM),
        )
        try:
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for one that has heard of Ctrl-C too, and has to clean up; then insist."""
    for insist in (process.terminate, process.kill):
        try:
            process.wait(_CLEAN_UP_S)
            return
        except subprocess.TimeoutExpired:
            insist()
    process.wait()
