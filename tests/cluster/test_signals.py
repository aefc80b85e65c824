"""A signal costs no step: one more checkpoint is written, and the command that goes on is said."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from command import descendants, firetree, last_weights, start
from test_resume import TWO, arguments, wait_for_workers

STEPS = 400


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert firetree(*arguments(run_dir, "ring", STEPS), ranks=2)[0] == 0
    return last_weights(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to"),
    [
        (signal.SIGTERM, "launcher"),
        (signal.SIGTERM, "launcher twice"),
        (signal.SIGHUP, "launcher"),
        (signal.SIGINT, "launcher"),
        (signal.SIGUSR1, "launcher"),
        (signal.SIGTERM, "worker"),
        (signal.SIGUSR1, "worker"),
        (signal.SIGINT, "worker"),
    ],
)
def test_a_signal_costs_no_step(
    undisturbed: bytes, tmp_path: Path, number: signal.Signals, to: str
) -> None:
    run_dir = tmp_path / "run"
    job = start(*arguments(run_dir, "ring", STEPS), *TWO)
    wait_for_workers(job.pid, run_dir)
    os.kill(descendants(job.pid)[-1] if to == "worker" else job.pid, number)
    if to == "launcher twice":  # as `timeout` does
        time.sleep(0.05)
        job.send_signal(number)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 128 + number, err
    assert f"run folder: {run_dir}\n" in out
    assert err.count("\n") == 1
    said, _, command = err.strip().partition("; to resume: ")
    step = int(said.rpartition(" ")[2])
    assert said == f"firetree: {number.name}: ended with a checkpoint of step {step}"
    assert max((run_dir / "checkpoints").iterdir()).name == f"step-{step:08d}"
    for rank in range(2):
        traced = (run_dir / "trace" / f"rank-000{rank}.jsonl").read_text().splitlines()
        assert len(traced) == 1 + step
    name, *words = shlex.split(command)
    assert name == "firetree"
    code, out, err = firetree(*words)
    assert (code, err) == (0, "")
    assert f"resumed at step {step} of {STEPS}" in out
    assert last_weights(run_dir) == undisturbed


@pytest.mark.slow
def test_a_signal_that_comes_while_a_failed_run_ends_is_not_followed_by_a_restart(
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    job = start(*arguments(run_dir, "ring", 100_000), *TWO, "--restarts", 1)
    first, second = wait_for_workers(job.pid, run_dir)
    os.kill(second, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    while not told_to_end(second):
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGINT
    assert " was killed by SIGKILL; the others were ended; to resume: " in err


def told_to_end(stopped: int) -> bool:
    """Whether SIGTERM waits for a process that is stopped."""
    status = Path(f"/proc/{stopped}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_after_a_death_the_folder_and_the_command_are_said(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    job = start(*arguments(run_dir, "ring", 100_000), *TWO)
    os.kill(wait_for_workers(job.pid, run_dir)[-1], signal.SIGKILL)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 1
    assert err.count("\n") == 1
    assert f"--resume --run-dir {run_dir}\n" in err
