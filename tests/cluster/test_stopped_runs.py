"""Each rank's own state outlives a stop: error feedback, running statistics, moments of local steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree, last_weights
from ranks import run_on_ranks
from safetensors.torch import load_file
from test_resume import wait_for_workers

from firetree.errors import UserError
from firetree.launch import RankInfo
from firetree.progress import log
from firetree.training.journal import Journal
from firetree.training.progress import Lines
from firetree.training.recipe import Recipe, SqueezeNetModel
from firetree.training.run_folder import RunFolder
from firetree.training.worker import build_worker, load_task

NORMED = ("--model.batch-norm", True, "--optim.ema", 0.9)
LOCAL = ("--sync.local-steps", 4, "--optim.ema", 0.9)
STREAMED = ("--sync.local-steps", 8, "--sync.fragments", 2, "--sync.overlap-steps", 2)
DILOCO = ("--sync.outer-lr", 0.7, "--sync.outer-momentum", 0.9)


def own_run(run_dir: Path, *options: object) -> tuple[object, ...]:
    """A run with few checkpoints on schedule."""
    run = ("train", "digits", "--run-dir", run_dir, "--optim.batch-size", 32)
    return *run, "--optim.steps", 260, "--checkpoint-steps", 20, *options


def stopped(run: tuple[object, ...], ranks: int, run_dir: Path) -> Path:
    """The last checkpoint of a run that was stopped soon after its first one."""

    def stop(processes: list[int]) -> None:
        wait_for_workers(processes[-1], run_dir)
        os.kill(processes[-1], signal.SIGTERM)

    code, _, err = firetree(*run, ranks=ranks, meanwhile=stop)
    assert code == 128 + signal.SIGTERM, err
    assert "ended with a checkpoint of step " in err
    return max((run_dir / "checkpoints").iterdir())


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        slow(3, ("--sync.compression", "int8")),
        slow(2, ("--sync.compression", "topk:0.05", "--sync.algorithm", "ring")),
        slow(3, ("--sync.compression", "powersgd:2", "--optim.batch-rule", "lars")),
        slow(3, ("--sync.compression", "demo:8", "--optim.momentum", 0)),
        slow(3, (*LOCAL, "--sync.compression", "sparseloco:0.05")),
        slow(2, NORMED),
        slow(2, (*NORMED, "--sync.compression", "topk:0.1")),
        slow(3, (*LOCAL, *DILOCO)),
        slow(2, (*LOCAL, *NORMED, "--optim.accumulate", 2)),
        slow(3, (*STREAMED, *DILOCO, "--sync.compression", "int8")),
        (2, (*STREAMED, *DILOCO, "--sync.compression", "e3m0")),
        (2, (*LOCAL, "--optim.optimizer", "adam", "--sync.compression", "int8")),
    ],
    ids=lambda it: " ".join(map(str, it)).replace("--", "") if isinstance(it, tuple) else None,
)
def test_a_run_that_was_stopped_off_its_schedule_ends_with_the_same_bits(
    tmp_path: Path, ranks: int, options: tuple[object, ...]
) -> None:
    run_dir = tmp_path / "run"
    assert firetree(*own_run(tmp_path / "undisturbed", *options), ranks=ranks)[0] == 0
    run = own_run(run_dir, *options)
    newest = stopped(run, ranks, run_dir)
    parts = [newest / f"rank-{rank:04d}.safetensors" for rank in range(ranks)]
    assert all(part.exists() for part in parts) == (newest.name != "step-00000020")
    code, _, err = firetree(*run, "--resume", ranks=ranks)
    assert (code, err) == (0, "")
    assert last_weights(run_dir) == last_weights(tmp_path / "undisturbed")


@pytest.mark.slow
def test_another_number_of_workers_goes_on_with_the_mean(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run = own_run(run_dir, "--model.batch-norm", True, "--sync.compression", "int8")
    run += ("--evaluate-epochs", 9)  # evaluation, too, makes statistics alike
    newest = stopped(run, 2, run_dir)
    one, other = (load_file(newest / f"rank-000{rank}.safetensors") for rank in range(2))
    optimizer = load_file(newest / "optimizer.safetensors")
    shared = load_file(newest / "model.safetensors") | {"error.0": optimizer["error.0/sync"]}
    own = {name for name in shared if "running" in name or "error" in name}
    assert one.keys() == other.keys() == own
    for name in own:
        assert not torch.equal(one[name], other[name])
        assert torch.equal((one[name] + other[name]) / 2, shared[name])
    code, out, err = firetree(*run, "--resume", ranks=3)
    assert (code, err) == (0, "")
    assert "all ranks continue with the mean of 2 ranks' own state" in out


def last_checkpoint_in_a_folder_that_is_gone(run_dir: Path) -> str:
    recipe = Recipe(model=SqueezeNetModel(batch_norm=True))
    rank_info = RankInfo(dist.get_rank(), dist.get_world_size(), dist.get_world_size(), "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    folder = RunFolder(run_dir, recipe, resume=False) if rank_info.rank == 0 else None
    journal = Journal(folder, recipe, worker, 9, Lines(log))
    journal.begin(resume=False)
    if folder:
        run_dir.rename(run_dir.with_name("elsewhere"))
    with pytest.raises(UserError) as refusal:
        journal.add_checkpoint(0, stopped=True)
    return str(refusal.value)


def test_where_it_cannot_be_written_no_rank_waits_to_hand_over_its_state(tmp_path: Path) -> None:
    said = run_on_ranks(3, last_checkpoint_in_a_folder_that_is_gone, tmp_path / "run")
    assert len(set(said)) == 1
    assert f"cannot write run folder {tmp_path / 'run'}: No such file" in said[0]
