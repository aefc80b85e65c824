"""Starting and ending workers: our launcher, torchrun, and the environments of srun and mpirun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command import (
    COMMAND,
    alive,
    descendants,
    firetree,
    free_port,
    kill_whole_job,
    last_weights,
    start,
)
from test_resume import wait_for_workers

ENDLESS = ("--optim.steps", 1_000_000, "--checkpoint-steps", 5)
SHORT = ("--optim.steps", 12)
LIMIT_S = 10.0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["ctrl_c", "sigterm"],
)
def test_a_signal_to_the_command_ends_all_workers_within_10_s(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    job = start("train", "digits", "--workers", 3, "--run-dir", tmp_path / "run", *ENDLESS)
    workers = wait_for_workers(job.pid, tmp_path / "run")
    began_s = time.monotonic()
    job.send_signal(number)
    _, err = job.communicate(timeout=60)
    assert time.monotonic() - began_s < LIMIT_S
    assert job.returncode == code
    assert err.startswith(f"firetree: {number.name}: ended with a checkpoint of step ")
    assert err.endswith(f" --resume --run-dir {tmp_path / 'run'}\n")
    assert not any(map(alive, workers))


@pytest.mark.parametrize(
    "victim", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_dying_worker_ends_all_within_10_s_and_is_named_once(tmp_path: Path, victim: int) -> None:
    job = start("train", "digits", "--workers", 3, "--run-dir", tmp_path / "run", *ENDLESS)
    workers = wait_for_workers(job.pid, tmp_path / "run")
    [victim_pid] = [pid for pid in workers if rank_of(pid) == victim]
    began_s = time.monotonic()
    os.kill(victim_pid, signal.SIGKILL)
    _, err = job.communicate(timeout=60)
    assert time.monotonic() - began_s < LIMIT_S
    assert job.returncode == 1
    assert err.count("\n") == 1
    assert f"worker {victim} was killed by SIGKILL" in err or f"rank {victim} went away" in err
    assert not any(map(alive, workers))


def rank_of(pid: int) -> int | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return None
    ranks = [int(text[5:]) for text in variables if text.startswith(b"RANK=")]
    return ranks[0] if ranks else None


@pytest.mark.slow
def test_after_lost_workers_all_start_again_until_the_run_is_done(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    job = start(
        *("train", "digits", "--workers", 2, "--restarts", 2, "--run-dir", run_dir),
        *("--optim.steps", 600, "--checkpoint-steps", 20, "--sync.timeout-s", 30),
    )
    workers = new_workers(job, run_dir, before=())
    os.kill(workers[1], signal.SIGKILL)
    workers = new_workers(job, run_dir, before=workers)
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    [line] = [line for line in err.splitlines() if "starting again" in line]
    assert line.endswith("starting again from the newest checkpoint (1 of 2)")
    assert "resumed at step" in out
    assert newest_step(run_dir) == 600


def test_a_mistake_is_not_repeated_by_restarts(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", "fashion-squeezenet", "--data.path", tmp_path / "none.npz"),
        *("--workers", 2, "--restarts", 3, "--run-dir", tmp_path / "run"),
    )
    assert code == 2
    assert "none.npz" in err
    assert "starting again" not in err


@pytest.mark.slow
def test_a_worker_that_stops_answering_ends_the_run_within_the_timeout(tmp_path: Path) -> None:
    job = start(
        *("train", "digits", "--workers", 3, "--run-dir", tmp_path / "run", *ENDLESS),
        *("--sync.timeout-s", 3),
    )
    workers = wait_for_workers(job.pid, tmp_path / "run")
    [stopped] = [pid for pid in workers if rank_of(pid) == 2]
    os.kill(stopped, signal.SIGSTOP)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 1
    assert err.count("\n") == 1
    assert "rank 2 did not answer within 3 s" in err
    assert not any(map(alive, workers))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    code, _, err = firetree("train", "digits", "--run-dir", run_dir, *SHORT, ranks=4)
    assert (code, err) == (0, "")
    return last_weights(run_dir)


def wait_for_all(jobs: list[subprocess.Popen[str]]) -> None:
    for job in jobs:
        _, err = job.communicate(timeout=120)
        assert job.returncode == 0, err


def test_torchrun_on_two_nodes_gives_the_same_weights(tmp_path: Path, reference: bytes) -> None:
    port = free_port()
    jobs = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes", "2", "--nproc-per-node", "2", "--node-rank", str(node)),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
                *("-m", "firetree", "train", "digits"),
                *("--run-dir", str(tmp_path / "run"), *map(str, SHORT)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        )
        for node in range(2)
    ]
    wait_for_all(jobs)
    assert last_weights(tmp_path / "run") == reference


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_under_torchrun_each_killed_worker_costs_one_restart(tmp_path: Path) -> None:
    """With as many restarts as kills, one that failed would end the job."""
    kills, run_dir = 4, tmp_path / "run"
    job = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--max-restarts", str(kills)),
            *("-m", "firetree", "train", "digits", "--resume", "--run-dir", str(run_dir)),
            *("--optim.steps", "1000000", "--checkpoint-steps", "5"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers = new_workers(job, run_dir, before=())
        for kill in range(kills):
            os.kill(workers[kill % 2], signal.SIGKILL)
            workers = new_workers(job, run_dir, before=workers)
    finally:
        kill_whole_job(job.pid)


def new_workers(
    job: subprocess.Popen[str], run_dir: Path, before: Sequence[int]
) -> tuple[int, int]:
    """Both ranks' processes, once they are others than before and have trained."""
    wait_for(job, lambda: {0, 1} <= running_ranks(job, before).keys())
    ranks, begun = running_ranks(job, before), newest_step(run_dir)
    wait_for(job, lambda: newest_step(run_dir) > begun)
    return ranks[0], ranks[1]


def running_ranks(job: subprocess.Popen[str], without: Sequence[int]) -> dict[int | None, int]:
    return {rank_of(pid): pid for pid in descendants(job.pid) if pid not in without}


def newest_step(run_dir: Path) -> int:
    steps = [int(path.name.removeprefix("step-")) for path in run_dir.glob("checkpoints/step-*")]
    return max(steps, default=0)


def wait_for(job: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 120
    while not condition():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


LAUNCHERS = {
    "srun": lambda rank: {
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_STEP_NODELIST": "localhost",
    },
    "mpirun": lambda rank: {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_workers_of_other_launchers_find_each_other(
    tmp_path: Path, launcher: str, reference: bytes
) -> None:
    shared = {"MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
    jobs = [
        start(
            *("train", "digits", "--run-dir", tmp_path / "run", *SHORT),
            environ={**shared, **LAUNCHERS[launcher](rank)},
        )
        for rank in range(4)
    ]
    wait_for_all(jobs)
    assert last_weights(tmp_path / "run") == reference


def test_a_run_leaves_no_process_and_no_temporary_file(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    job = subprocess.Popen(
        [
            *COMMAND,
            "train",
            "digits",
            "--workers",
            "2",
            "--run-dir",
            str(tmp_path / "run"),
            "--optim.steps",
            "3",
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
    )
    started: set[int] = set()
    while job.poll() is None:
        started |= set(descendants(job.pid))
        time.sleep(0.05)
    assert job.returncode == 0
    assert len(started) >= 2
    assert not any(map(alive, started))
    assert list(temporary.glob("firetree*")) == []
