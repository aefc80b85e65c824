"""`firetree train` in a process of its own, for those who make many runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

FIRETREE = (sys.executable, "-m", "firetree")


def log_of(run_dir: Path) -> Path:
    """Where what a run says is kept."""
    return run_dir.with_name(f"{run_dir.name}.log")


def train_apart(
    recipe: str,
    run_dir: Path,
    options: Sequence[str] = (),
    *,
    within: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Train, or go on where the run's folder is there already; gives the exit code.

    Args:
        recipe: a name or a file.
        run_dir: the run's folder; what is said goes to `log_of` it.
        options: more options of `firetree train`.
        within: a command that runs another, as `firetree lab … --`.
        environ: what the environment has beside this process's own.
    """
    resume = ["--resume"] * run_dir.exists()
    training = [*FIRETREE, "train", recipe, "--run-dir", str(run_dir), *resume, *options]
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with log_of(run_dir).open("w", encoding="utf-8") as file:
        print(shlex.join(training), file=file, flush=True)
        return subprocess.run(
            [*within, *training],
            env={**os.environ, **environ},
            stdout=file,
            stderr=file,
            check=False,
        ).returncode
