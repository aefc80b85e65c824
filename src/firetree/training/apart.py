"""Training in a process of its own, for those who make many runs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from firetree.processes import ending_with_us
from firetree.training.job import Job, write_job
from firetree.training.recipe import Recipe

_CLEAN_UP_S = 5.0

FIRETREE = (sys.executable, "-m", "firetree")


def log_of(run_dir: Path) -> Path:
    """Where what a run says is kept."""
    return run_dir.with_name(f"{run_dir.name}.log")


def train_apart(
    recipe: Recipe,
    run_dir: Path,
    *,
    plan: str | None = None,
    within: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Train, or go on where the run's folder is there already; gives the exit code.

    Args:
        recipe: what is trained.
        run_dir: the run's folder; what is said goes to `log_of` it, and the job lies beside it.
        plan: as a `Job` has it.
        within: a command that runs another, as `firetree lab … --`.
        environ: what the environment has beside this process's own.
    """
    job = run_dir.with_name(f"{run_dir.name}.job.json")
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    write_job(job, Job(recipe, str(run_dir), resume=run_dir.exists(), plan=plan))
    return _run([*within, *FIRETREE, "worker", str(job)], log_of(run_dir), environ)


def train_by_options(
    recipe: str,
    run_dir: Path,
    options: Sequence[str] = (),
    *,
    within: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """As `train_apart`, with options of `firetree train`."""
    resume = ["--resume"] * run_dir.exists()
    training = [*FIRETREE, "train", recipe, "--run-dir", str(run_dir), *resume, *options]
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    return _run([*within, *training], log_of(run_dir), environ)


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
