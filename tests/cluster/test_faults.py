"""Ranks that are killed, stopped or cut off while they train: who is named, by ranks and launchers."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command import COMMAND, LIMIT_S, descendants, start

from firetree.errors import RunFailedError
from firetree.lab import Lab, describe, run_command

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"
TIMEOUT_S = 4
ENDLESS = ("--optim.epochs", 1000, "--checkpoint-steps", 5, "--sync.timeout-s", TIMEOUT_S)

lab_is_here = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")),
    reason="the lab needs root and iproute2",
)


@lab_is_here
def test_drawn_faults_end_with_the_right_name_on_every_rank_and_nothing_is_left_behind() -> None:
    command = [sys.executable, str(SCRIPT), "--faults", "3", "--seed", "224"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 3 trials did not end as they must" in done.stdout


def wait_for_checkpoint(run_dir: Path) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not list(run_dir.glob("checkpoints/step-*")):
        assert time.monotonic() < end_s, "no checkpoint"
        time.sleep(0.1)


def worker(launcher: int, rank: int) -> int:
    """The process of a rank, by its environment."""
    for pid in descendants(launcher):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if b"RANK=%d" % rank in variables:
            return pid
    raise AssertionError(f"no rank {rank}")


@pytest.mark.slow
def test_the_launcher_names_a_stopped_worker_soon_after_the_timeout(tmp_path: Path) -> None:
    job = start("train", "digits", "--workers", 3, "--run-dir", tmp_path / "run", *ENDLESS)
    wait_for_checkpoint(tmp_path / "run")
    stopped = random.Random(0).randrange(1, 3)
    os.kill(worker(job.pid, stopped), signal.SIGSTOP)
    _, err = job.communicate(timeout=TIMEOUT_S + 26)  # torch's own launcher took 30 s more
    assert job.returncode == 1
    assert err.splitlines()[-1].startswith(
        f"firetree: rank {stopped} did not answer within {TIMEOUT_S} s: the process is stopped"
    )


@pytest.mark.slow
def test_a_run_says_for_whom_it_waits_and_when_they_came(tmp_path: Path) -> None:
    run = ("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run")
    job = start(*run, "--optim.epochs", 1000, "--checkpoint-steps", 5)
    wait_for_checkpoint(tmp_path / "run")
    late = worker(job.pid, 1)
    os.kill(late, signal.SIGSTOP)
    assert job.stdout is not None
    assert next(line for line in job.stdout if "waiting for rank 1 since " in line)
    os.kill(late, signal.SIGCONT)
    assert next(line for line in job.stdout if "rank 1 came after " in line)


@lab_is_here
@pytest.mark.parametrize(
    ("algorithm", "cut"), [("binomial_tree", 2), pytest.param("gloo", 0, marks=pytest.mark.slow)]
)
def test_a_host_that_is_cut_off_is_named_by_itself_by_the_others_and_by_the_lab(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], algorithm: str, cut: int
) -> None:
    run = ("train", "digits", "--run-dir", tmp_path / "run", "--sync.algorithm", algorithm)
    command = [*COMMAND, *map(str, (*run, *ENDLESS))]
    with Lab(describe(3, "200mbit")) as lab, ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_command, lab, command)
        wait_for_checkpoint(tmp_path / "run")
        lab.link_down(cut)
        with pytest.raises(RunFailedError) as failure:
            running.result(timeout=LIMIT_S)
    name = rf"rank {cut} \(host {cut}\)"
    own = rf"firetree: the network of {name} is cut: eth0 has no carrier"
    seen = rf"firetree: {name} cannot be reached: its host is down, or its network is cut"
    err = capfd.readouterr().err
    for host in range(3):
        mark = f"host {host}: " if host else ""
        assert re.search(rf"^{mark}{own if host == cut else seen}", err, re.MULTILINE), err
    assert re.match(rf"{own}|{seen}", f"firetree: {failure.value}")
