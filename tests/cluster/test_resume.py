"""A run that was killed goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from command import alive, descendants, firetree, kill_whole_job, last_weights, start

DEATHS = int(os.environ.get("FIRETREE_DEATHS", "10"))
"""How often a run is broken off; set it to 100 for a night."""
TWO = ("--workers", 2)


def arguments(run_dir: Path, algorithm: str, steps: int) -> tuple[object, ...]:
    return (
        *("train", "digits", "--run-dir", run_dir),
        *("--sync.algorithm", algorithm, "--optim.steps", steps),
        *("--checkpoint-steps", 10, "--optim.batch-size", 32),
    )


@pytest.mark.timeout(60 * DEATHS)
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_broken_off_at_random_a_run_ends_with_the_weights_of_one_never_disturbed(
    tmp_path: Path, number: signal.Signals
) -> None:
    steps = 60 * DEATHS
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert start(*arguments(undisturbed, "ring", steps), *TWO).communicate()[1] == ""
    moments = random.Random(0)
    for _ in range(DEATHS):
        job = start(*arguments(disturbed, "ring", steps), *TWO, "--resume")
        time.sleep(moments.uniform(2.5, 7.0))
        if job.poll() is None:
            kill_whole_job(job.pid) if number == signal.SIGKILL else job.send_signal(number)
        job.communicate()
    last = start(*arguments(disturbed, "ring", steps), *TWO, "--resume")
    assert last.communicate()[1] == ""
    assert last_weights(disturbed) == last_weights(undisturbed)
    metrics = [
        [
            line.partition("samples_per_s")[0].partition("train_loss")[0]
            for line in text.splitlines()
        ]
        for text in ((run / "metrics.jsonl").read_text() for run in (disturbed, undisturbed))
    ]
    assert metrics[0] == metrics[1]
    traced = (disturbed / "trace" / "rank-0001.jsonl").read_text().splitlines()
    assert len(traced) == 1 + steps


def test_when_only_the_launcher_is_killed_no_worker_lives_on(tmp_path: Path) -> None:
    job = start(*arguments(tmp_path / "run", "ring", 100_000), *TWO)
    workers = wait_for_workers(job.pid, tmp_path / "run")
    job.kill()
    job.communicate()
    deadline_s = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline_s, "a worker outlived its launcher"
        time.sleep(0.05)


def wait_for_workers(pid: int, run_dir: Path) -> list[int]:
    """Wait until training is under way; gives the processes that take part."""
    deadline_s = time.monotonic() + 60
    while not list(run_dir.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline_s, "no checkpoint came"
        time.sleep(0.05)
    return descendants(pid)


def test_a_damaged_checkpoint_is_said_in_one_line_and_the_one_before_used(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run = arguments(run_dir, "ring", 30)
    assert firetree(*run, ranks=2)[0] == 0
    expected = last_weights(run_dir)
    damaged = run_dir / "checkpoints" / "step-00000030" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, out, err = firetree(*run, "--resume", ranks=2)
    assert (code, err) == (0, "")
    [line] = [line for line in out.splitlines() if "is damaged" in line]
    assert "step-00000030" in line
    assert "going back to step 20" in line
    assert f"kept aside in {run_dir / 'aside-1'}: step-00000030" in out
    assert (run_dir / "aside-1" / "checkpoints" / "step-00000030" / damaged.name).exists()
    assert last_weights(run_dir) == expected


def test_where_no_checkpoint_can_be_read_none_is_lost(tmp_path: Path) -> None:
    run = arguments(tmp_path / "run", "ring", 20)
    assert firetree(*run)[0] == 0
    for sums in tmp_path.glob("run/checkpoints/*/SHA256SUMS"):
        sums.unlink()
    before = sorted(tmp_path.rglob("*"))
    code, _, err = firetree(*run, "--resume", ranks=2)
    assert code == 2
    assert "none of the 2 checkpoints in" in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_what_a_resumed_run_changes_is_said(tmp_path: Path) -> None:
    assert firetree(*arguments(tmp_path / "run", "ring", 10), ranks=2)[0] == 0
    code, out, _ = firetree(*arguments(tmp_path / "run", "gloo", 12), "--resume", ranks=2)
    assert code == 0
    assert "sync.algorithm 'ring' to 'gloo'" in out
    assert "optim.steps 10 to 12" in out
    assert "resumed at step 10 of 12" in out


def test_what_a_runs_state_depends_on_cannot_change(tmp_path: Path) -> None:
    asked = (*arguments(tmp_path / "run", "ring", 1), "--sparse.density", 0.5)
    assert firetree(*asked)[0] == 0
    for field, value in (
        ("optim.optimizer", "adam"),
        ("optim.batch-rule", "lamb"),
        ("sparse.density", 0.3),
    ):
        code, _, err = firetree(*asked, f"--{field}", value, "--resume")
        assert code == 2
        assert err.startswith(
            f"firetree: cannot resume {tmp_path / 'run'}: it has {field.replace('-', '_')} = "
        )


def test_a_run_folder_in_use_is_refused(tmp_path: Path) -> None:
    run = arguments(tmp_path / "run", "ring", 100_000)
    wait_for_workers(start(*run).pid, tmp_path / "run")
    code, _, err = firetree(*run, "--resume")
    assert code == 2
    assert "is in use by another process" in err
