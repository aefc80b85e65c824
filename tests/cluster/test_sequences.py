"""Sequences train like images: several workers as one, resumed as never stopped, NaN named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree, resumed_weights
from ranks import run_on_ranks

from firetree.launch import RankInfo
from firetree.training import load_recipe, with_fields
from firetree.training.evaluation import evaluate
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

STEPS = 8


def train_steps(model: str, data: str) -> tuple[dict[str, torch.Tensor], float]:
    """Weights after a few steps of 13 sequences, the last batch smaller, and the accuracy."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = load_recipe("associative-retrieval")
    recipe = replace(
        with_fields(recipe, {"model.name": model, "model.hidden": 16}),
        data=replace(recipe.data, name=data, examples=100, held_out="validation"),
        optim=replace(recipe.optim, batch_size=13),
    )
    rank_info = RankInfo(rank, world_size, world_size, "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    for step, batches in enumerate([worker.loader.training_batches(0)] * STEPS):
        train_step(worker, batches, step, 0.002)
    return worker.model.state_dict(), evaluate(worker).accuracy


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("fast_weights", "associative_retrieval"),
        pytest.param("delta", "multi_query_recall", marks=pytest.mark.slow),
        pytest.param("lstm", "multi_query_recall", marks=pytest.mark.slow),
    ],
)
def test_four_workers_end_with_the_weights_of_one(model: str, data: str) -> None:
    [(alone, accuracy)] = run_on_ranks(1, train_steps, model, data)
    for weights, its_accuracy in run_on_ranks(4, train_steps, model, data):
        assert its_accuracy == pytest.approx(accuracy, abs=2e-4)
        for name, ours in weights.items():
            difference = (ours - alone[name]).abs().max() / alone[name].abs().max()
            assert difference <= 1e-3, name


SHORT = ("associative-retrieval", "--data.examples", 1500, "--checkpoint-steps", 5)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    asked = ("train", *SHORT, "--optim.steps", 10, "--run-dir", run_dir)
    resumed_weights(asked, run_dir, step=5, steps=10, ranks=2)


def test_fast_weights_that_explode_without_normalisation_are_named(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", *SHORT, "--run-dir", tmp_path / "run", "--model.rate", 1e12),
        *("--model.normalise", False, "--optim.steps", 20),
    )
    assert code == 1
    assert "first in layer layer on rank 0" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.decay", 1.5), "decay = 1.5; expected 0 to 1"),
        (("--model.heads", 2), "model.heads = 2; 'fast_weights' does not have this field"),
        (("--model.name", "nin"), "model.name = 'nin' is unknown for sequences"),
        (("--data.size", 28), "data.size = 28; 'associative_retrieval' does not have"),
        (("--data.pairs", 0), "data.pairs = 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    code, _, err = firetree("train", *SHORT, "--run-dir", tmp_path / "run", *options)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
