"""Runs with batch normalisation: ranks agree, resuming changes nothing, and predictions need none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import resumed_weights
from ranks import run_on_ranks

from firetree.launch import RankInfo
from firetree.modelfiles import load_model
from firetree.training.recipe import OptimRecipe, Recipe, SqueezeNetModel
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task


def running_means() -> tuple[torch.Tensor, torch.Tensor]:
    recipe = Recipe(
        model=SqueezeNetModel(batch_norm=True), optim=OptimRecipe(batch_size=16, ema=0.5)
    )
    rank, world_size = dist.get_rank(), dist.get_world_size()
    worker = build_worker(recipe, RankInfo(rank, world_size, world_size, "", 0), load_task(recipe))
    settle(worker)
    batches = worker.loader.batches(0)
    name = "conv1.norm.running_mean"
    train_step(worker, batches, 0, 0.1, looked_at=False)
    apart = worker.model.get_buffer(name).clone()
    train_step(worker, batches, 1, 0.1)
    worker.share()
    return apart, worker.model.get_buffer(name)


def test_ranks_share_what_they_have_seen_once_someone_looks() -> None:
    (one_apart, one), (other_apart, other) = run_on_ranks(2, running_means)
    assert not torch.equal(one_apart, other_apart)
    assert torch.equal(one, other)
    assert one.isfinite().all()


def test_a_resumed_run_ends_with_the_same_bits_and_its_folder_predicts_what_was_evaluated(
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    asked = ("train", "digits", "--model.batch-norm", True, "--optim.steps", 40)
    asked += ("--checkpoint-steps", 20, "--run-dir", run_dir)
    resumed_weights(asked, run_dir, step=20, steps=40, ranks=2)

    published = load_model(run_dir)
    assert not any("norm" in name for name in published.state)
    network = published.build().eval()
    task = load_task(Recipe())
    right = 0
    for batch in task.loader(batch_size=64, seed=0, rank=0, world_size=1).test_batches():
        with torch.no_grad():
            right += int(task.right(network(batch.x), batch.y))
    found = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["accuracy"]
    assert right / 360 == pytest.approx(found, abs=1.5 / 360)
    assert found > 0.3
