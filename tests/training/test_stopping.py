"""A signal to any rank ends all ranks before the same step."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.commands.train import resume_command
from firetree.peers import join
from firetree.training.stopping import Stopping


def _steps_until(signalled: dict[int, int], every: int) -> tuple[int, int | None]:
    """Steps as a run makes them, each rank in its own time; a rank is sent SIGUSR1 in one of them."""
    rank, moments = dist.get_rank(), random.Random(dist.get_rank())
    roll = join() if dist.get_world_size() > 1 else None
    with Stopping(roll, every, grace_s=60) as stopping:
        for step in range(200):
            if (number := stopping.requested_signal(step)) is not None:
                return step, number
            time.sleep(moments.uniform(0, 0.004))
            if signalled.get(rank) == step:
                os.kill(os.getpid(), signal.SIGUSR1)
            if (step + 1) % every == 0:
                dist.all_reduce(torch.zeros(1))
    return 200, None


@pytest.mark.parametrize(
    ("world_size", "signalled", "every", "last"),
    [
        (3, {1: 7}, 1, 9),
        (3, {0: 20, 1: 20, 2: 20}, 1, 22),
        (3, {2: 13}, 4, 20),
        (3, {0: 11, 2: 12}, 4, 20),
        (1, {0: 7}, 1, 8),
        (1, {0: 9}, 4, 12),
        (2, {0: 199}, 1, 200),
        (2, {}, 1, 200),
    ],
)
def test_all_ranks_end_before_the_same_step(
    world_size: int, signalled: dict[int, int], every: int, last: int
) -> None:
    ends = run_on_ranks(world_size, _steps_until, signalled, every)
    assert len(set(ends)) == 1
    step, number = ends[0]
    assert min(signalled.values(), default=0) < step <= last
    assert step % every == 0
    assert number == (None if step == 200 else signal.SIGUSR1)


BUSY = """
import signal, sys, time
from firetree.training.stopping import Stopping
with Stopping(None, every=1, grace_s=float(sys.argv[1])):
    print("ready", flush=True)
    while True:
        time.sleep(1)
"""


def started(grace_s: float) -> subprocess.Popen[str]:
    busy = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(grace_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert busy.stdout is not None
    assert busy.stdout.readline() == "ready\n"
    return busy


def test_one_that_does_not_come_to_its_next_step_ends_after_the_grace() -> None:
    busy = started(grace_s=0.2)
    busy.send_signal(signal.SIGTERM)
    _, err = busy.communicate(timeout=60)
    assert busy.returncode == 128 + signal.SIGTERM
    assert err.startswith("firetree: SIGTERM; no checkpoint was written in the 0.")
    assert err.count("\n") == 1


def test_a_second_ctrl_c_ends_at_once() -> None:
    busy = started(grace_s=600)
    busy.send_signal(signal.SIGINT)
    while busy.poll() is None:
        time.sleep(0.2)
        busy.send_signal(signal.SIGINT)
    assert busy.communicate()[1].startswith("firetree: SIGINT; no checkpoint was written")
    assert busy.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("train digits", "firetree train digits --resume --run-dir 'my run'"),
        ("train digits --run-dir old --seed 3", "firetree train digits --seed 3 --resume"),
        ("train d --run-dir=old --resume --workers 2", "firetree train d --workers 2 --resume"),
        ("train 'a b.toml' --run_dir x", "firetree train 'a b.toml' --resume"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_began(given: str, expected: str) -> None:
    assert resume_command(shlex.split(given), Path("my run")).startswith(expected)
