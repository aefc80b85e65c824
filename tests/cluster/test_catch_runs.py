"""Catch through the trainer: it is learned, several workers are as one, and a run goes on as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree, resumed_weights
from ranks import run_on_ranks

from firetree.launch import RankInfo
from firetree.models.families import FastWeightsModel
from firetree.training import load_recipe
from firetree.training.evaluation import evaluate
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

SMALL = ("train", "catch", "--data.size", 6, "--data.blank-after", 2)


def train_steps() -> tuple[dict[str, torch.Tensor], float]:
    """Weights after a few steps of 13 games, the last one smaller, and the share that is won."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = load_recipe("catch")
    recipe = replace(
        recipe,
        model=FastWeightsModel("fast_weights", hidden=16),
        data=replace(recipe.data, size=6, examples=60),
        optim=replace(recipe.optim, batch_size=13),
    )
    rank_info = RankInfo(rank, world_size, world_size, "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    batches = worker.loader.batches(0)
    for step in range(5):
        train_step(worker, batches, step, 0.002)
    return worker.model.state_dict(), evaluate(worker).accuracy


@pytest.mark.slow
def test_two_workers_end_with_the_weights_of_one() -> None:
    [(alone, accuracy)] = run_on_ranks(1, train_steps)
    for weights, its_accuracy in run_on_ranks(2, train_steps):
        assert its_accuracy == pytest.approx(accuracy)
        for name, ours in weights.items():
            difference = (ours - alone[name]).abs().max() / alone[name].abs().max()
            assert difference <= 1e-3, name


@pytest.mark.slow
def test_a_small_game_is_learned(tmp_path: Path) -> None:
    code, _, err = firetree(
        *SMALL, "--run-dir", tmp_path / "run", "--optim.lr", 0.005, "--optim.target-accuracy", 0.9
    )
    assert code == 0, err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["accuracy"] >= 0.9


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(tmp_path: Path) -> None:
    asked = (*SMALL, "--data.examples", 500, "--checkpoint-steps", 5)
    asked += ("--optim.steps", 20, "--run-dir", tmp_path / "run")
    resumed_weights(asked, tmp_path / "run", step=10, steps=20, ranks=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data.size", 2), "data.size = 2; expected 3 to 100 for 'catch'"),
        (("--data.blank-after", 0), "data.blank_after = 0; expected 1 or more"),
        (("--data.held-out", "validation"), "data.held_out = validation; 'catch' does not have"),
        (("--optim.label-smoothing", 0.1), "optim.label_smoothing = 0.1; games have no labels"),
        (("--model.name", "nin"), "model.name = 'nin' is unknown for games"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    code, _, err = firetree(*SMALL[:2], "--run-dir", tmp_path / "run", *options)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
