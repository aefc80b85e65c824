"""What a shell, a terminal or another launcher leaves around a run neither ends nor confuses it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from command import COMMAND, firetree, start
from test_failures import assert_one_line

SHORT = ("--optim.steps", "2", "--checkpoint-steps", "2")


def run_with(
    *arguments: object, closed: tuple[int, ...] = (), **settings: object
) -> subprocess.CompletedProcess[bytes]:
    """Run with some of the standard streams closed."""

    def close() -> None:
        for number in closed:
            os.close(number)

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
        preexec_fn=close,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("closed", "workers"),
    [
        ((0, 1, 2), 2),
        *(pytest.param(*it, marks=pytest.mark.slow) for it in (((1,), 1), ((0, 1), 2))),
    ],
)
def test_a_run_needs_no_standard_streams(
    tmp_path: Path, closed: tuple[int, ...], workers: int
) -> None:
    run_dir = tmp_path / "run"
    done = run_with(
        *("train", "digits", "--workers", workers, "--run-dir", run_dir, *SHORT), closed=closed
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (run_dir / "checkpoints" / "step-00000002").is_dir()
    assert (run_dir / "metrics.jsonl").read_text().count("\n") == 1


def test_without_standard_error_a_failure_has_its_exit_code() -> None:
    with open("/dev/full", "w") as full:
        assert run_with("train", "digitz", stderr=full).returncode == 2
    assert run_with("train", "digitz", closed=(2,)).returncode == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_on_where_nobody_reads_what_it_says(tmp_path: Path, workers: int) -> None:
    job = start("train", "digits", "--workers", workers, "--run-dir", tmp_path / "run", *SHORT)
    assert job.stdout
    assert job.stdout.readline()  # as `| head -1` does
    job.stdout.close()
    job.stdout = None
    _, err = job.communicate(timeout=120)
    assert (job.returncode, err) == (
        0,
        "standard output cannot be written: Broken pipe; the run goes on without it\n",
    )
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir()


def test_a_run_goes_on_where_its_terminal_is_gone(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        [*COMMAND, "train", "digits", "--run-dir", str(tmp_path / "run"), *SHORT],
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert job.wait(timeout=120) == 0
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_in_the_middle_of_imports_leaves_no_traceback(tmp_path: Path, workers: int) -> None:
    began = tmp_path / "began"
    (tmp_path / "torch.py").write_text(
        f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(60)\n"
    )
    job = start(
        *("train", "digits", "--workers", workers, "--run-dir", tmp_path / "run"),
        environ={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    while not began.exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=60)
    assert (job.returncode, err) in (
        (-signal.SIGINT, ""),
        (130, "firetree: interrupted by SIGINT\n"),
    )


def test_a_folder_that_was_removed_under_ones_feet_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone && exec "$0" "$@"', *COMMAND, "train", "digits"],
        cwd=gone,
        capture_output=True,
        text=True,
    )
    assert_one_line(done.returncode, done.stderr, "the folder you are in was removed")


def test_workers_take_no_library_from_the_folder_one_is_in(tmp_path: Path) -> None:
    for name in ("random", "torch", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the library')\n")
    entry = "import sys; sys.path.remove(''); from firetree.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", entry, "train", "digits", "--workers", "2", *SHORT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


TORCHRUNS: Mapping[str, str] = {
    "TORCHELASTIC_RUN_ID": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_ERROR_FILE": "/none/error.json",
}


@pytest.mark.slow
def test_a_launcher_within_torchruns_environment_starts_its_own_workers(tmp_path: Path) -> None:
    run = partial(firetree, "train", "digits", "--run-dir", tmp_path / "run")
    code, _, err = run("--optim.lr", -1, environ=TORCHRUNS)
    assert_one_line(code, err, "optim.lr = -1")
    alone = {**TORCHRUNS, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    code, out, err = run("--workers", 2, *SHORT, environ=alone)
    assert (code, err) == (0, "")
    assert out.startswith("starting 2 workers\n")
