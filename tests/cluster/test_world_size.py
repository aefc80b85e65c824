"""A run goes on with another number of workers in the middle of an epoch, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from command import firetree, kill_whole_job, start
from ranks import run_on_ranks

from firetree.data import Batch
from firetree.launch import RankInfo
from firetree.training import Recipe, checkpoint
from firetree.training.checkpoint import TrainingState
from firetree.training.recipe import ImageData, OptimRecipe
from firetree.training.step import settle, train_step
from firetree.training.worker import Worker, build_worker, load_task

PICTURES, BATCH = 203, 16


def numbered(path: Path) -> Path:
    """Images that say which one they are: their number, in the first two pixels."""
    x_NHW = np.zeros((PICTURES, 8, 8), np.uint8)
    x_NHW[:, 0, 0], x_NHW[:, 0, 1] = np.divmod(np.arange(PICTURES), 16)
    x_NHW[:, 0, :2] *= 16
    y_N = np.arange(PICTURES) % 3
    np.savez(path, train_x=x_NHW, train_y=y_N, test_x=x_NHW[:4], test_y=y_N[:4])
    return path


def noted(batches: Iterator[Batch], worker: Worker, seen: list[int]) -> Iterator[Batch]:
    """The batches, whose images' numbers are added to `seen`."""
    mean, std = (worker.task.about[name][0] for name in ("mean", "std"))
    for batch in batches:
        shades = batch.x[:, 0, 0, :2] * std + mean
        high, low = (shades * 255 / 16).round().int().T
        seen += (16 * high + low).tolist()
        yield batch


def train_part(path: Path, folder: Path, first: int, last: int) -> list[int]:
    """Train this rank's share of steps `first` to `last - 1` from the newest checkpoint."""
    recipe = Recipe(data=ImageData("npz", str(path)), optim=OptimRecipe(batch_size=BATCH, lr=0.01))
    rank_info = RankInfo(dist.get_rank(), dist.get_world_size(), dist.get_world_size(), "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    found, _ = checkpoint.newest(folder)
    if found:
        assert found.state.step == first
        checkpoint.restore(found, worker.model, worker.optimizer)
    seen: list[int] = []
    stream = worker.loader.batches(first)
    batches = noted(stream, worker, seen)
    for step in range(first, last):
        train_step(worker, batches, step, 0.01)
    stream.close()
    if rank_info.rank == 0:
        captured = checkpoint.capture(worker.model, worker.optimizer, TrainingState(last, {}, {}))
        checkpoint.write(folder, captured, keep=1)
    return seen


def test_three_then_two_then_five_workers_see_every_image_once_in_the_epoch(
    tmp_path: Path,
) -> None:
    path, folder = numbered(tmp_path / "numbered.npz"), tmp_path / "checkpoints"
    steps = -(-PICTURES // BATCH)
    seen = [
        number
        for world_size, first, last in ((3, 0, 4), (2, 4, 9), (5, 9, steps))
        for part in run_on_ranks(world_size, train_part, path, folder, first, last)
        for number in part
    ]
    assert sorted(seen) == list(range(PICTURES))


def arguments(run_dir: Path, workers: int) -> tuple[object, ...]:
    return (
        *("train", "digits", "--workers", workers, "--run-dir", run_dir, "--resume"),
        *("--checkpoint-steps", 7, "--optim.epochs", 20),
    )


def trained_until(run_dir: Path, workers: int, step: int) -> None:
    """Train until there is a checkpoint of that step or a later one, then die."""
    job = start(*arguments(run_dir, workers))
    deadline_s = time.monotonic() + 90
    while not any(int(p.name[5:]) >= step for p in run_dir.glob("checkpoints/step-*")):
        assert job.poll() is None
        assert time.monotonic() < deadline_s, "no checkpoint came"
        time.sleep(0.02)
    kill_whole_job(job.pid)
    job.communicate()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_of_three_workers_that_goes_on_with_two_and_five_learns_as_well(
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    trained_until(run_dir, 3, 56)
    trained_until(run_dir, 2, 203)
    code, out, err = firetree(*arguments(run_dir, 5))
    assert (code, err) == (0, "")
    assert "resumed at step" in out
    accuracy = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["accuracy"]
    assert accuracy >= 0.96
    assert json.loads(firetree("report", run_dir, "--json")[1])["world_size"] == 5


@pytest.mark.slow
def test_a_run_that_goes_on_with_fewer_workers_has_no_traces_of_more(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for workers, steps in ((3, 4), (2, 8)):
        code, _, err = firetree(*arguments(run_dir, workers), "--optim.steps", steps)
        assert (code, err) == (0, "")
    assert len(list((run_dir / "trace").iterdir())) == 2
    assert json.loads(firetree("report", run_dir, "--json")[1])["steps"] == 4
