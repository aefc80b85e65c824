"""Unequal shares in real processes: the gradients of one, shares that follow speeds, and resuming with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from command import firetree, forget_after, last_weights
from ranks import run_on_ranks
from safetensors.torch import load

from firetree.data.shares import Shares
from firetree.launch import RankInfo
from firetree.trace import StepTrace
from firetree.training import load_recipe, with_fields
from firetree.training.balancer import Balancer
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

SHARES = (3, 1, 28)
UNCLIPPED = {"optim.clip_norm": None, "optim.batch_size": sum(SHARES)}
RECIPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("digits", {"model.dropout": 0.0, "optim.accumulate": 3, "data.mixup": 0.2}),
    ("associative-retrieval", {"data.name": "multi_query_recall", "data.examples": 100}),
    ("gpt", {"model.dropout": 0.0, "model.hidden": 32, "model.heads": 2, "model.layers": 1}),
)


def gradients_of(
    text: Path, name: str, fields: Mapping[str, Any], shares: Shares
) -> tuple[torch.Tensor, int]:
    """The summed gradient of the first step, and this rank's samples."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = with_fields(load_recipe(name), {**fields, **UNCLIPPED})
    if name == "gpt":
        recipe = with_fields(recipe, {"data.path": str(text), "data.length": 16})
    rank_info = RankInfo(rank, world_size, world_size, "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    worker.loader.shares = shares
    batches = worker.loader.batches(0)
    batch = next(batches)
    train_step(worker, iter([batch]), 0, 0.0)
    batches.close()
    gradients = [p.grad.reshape(-1) for p in worker.model.parameters() if p.grad is not None]
    return torch.cat(gradients), len(batch.x)


def gradients(text: Path) -> list[tuple[torch.Tensor, int]]:
    shares = SHARES if dist.get_world_size() > 1 else (1,)
    return [gradients_of(text, *recipe, shares) for recipe in RECIPES]


def test_the_gradients_of_unequal_shares_are_those_of_one_process(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("All work and no play makes Jack a dull boy.\n" * 40)
    [alone] = run_on_ranks(1, gradients, text)
    for rank, found in enumerate(run_on_ranks(len(SHARES), gradients, text)):
        for (ours, samples), (theirs, _), (name, _) in zip(found, alone, RECIPES, strict=True):
            assert samples == SHARES[rank]
            assert (ours - theirs).norm() <= 1e-6 * theirs.norm(), name


def followed() -> dict[int, Shares]:
    """The shares of each step from which they change. Rank 2 is half as fast, from step 60 on rank 0 too."""
    rank = dist.get_rank()
    loader = load_task(load_recipe("digits")).loader(
        batch_size=64, seed=0, rank=rank, world_size=dist.get_world_size()
    )
    balancer = Balancer(loader, 10_000, 64, rank)
    changed = {0: balancer.shares}
    for step in range(120):
        is_slow = rank == 2 or (rank == 0 and step >= 60)
        own_s = 0.02 + balancer.shares[rank] * (0.02 if is_slow else 0.01)
        others_s = 5.0  # waiting for them is no work
        told = balancer.look(
            StepTrace(step, 0.0, 0.0, own_s, others_s, 0.0, 1, 0, (), communication_s=others_s)
        )
        if told:
            changed[step + 1] = balancer.shares
            assert told.startswith(f"shares of the batch {', '.join(map(str, balancer.shares))}, ")
    return changed


def test_all_ranks_follow_their_speeds_from_the_same_step_on_and_within_twenty() -> None:
    first, *others = run_on_ranks(3, followed)
    assert all(other == first for other in others)
    assert first[0] == (21, 21, 22)
    before, after = ([step for step in first if (step >= 60) == late] for late in (False, True))
    assert max(before) <= 20
    assert max(after) <= 80
    # 20 ms and n samples of 10 ms on one kind take as long as 20 ms and n / 2 on the other.
    assert first[max(before)] == pytest.approx((26, 25, 13), abs=1)
    assert first[max(after)] == pytest.approx((16, 32, 16), abs=1)


UNEVEN = """
import time
import torch.distributed as dist
from torch import nn

class net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        slowly = dist.get_world_size() > 1 and dist.get_rank() == 1
        if self.training:
            time.sleep(len(x) * (0.006 if slowly else 0.002))
        return self.layers(x)
"""


def samples_by_step(run_dir: Path) -> list[tuple[int, ...]]:
    """Each rank's samples, by step."""
    ranks = [
        [json.loads(line) for line in path.read_text().splitlines()[1:]]
        for path in sorted((run_dir / "trace").glob("rank-*.jsonl"))
    ]
    return [tuple(rank["samples"] for rank in steps) for steps in zip(*ranks, strict=True)]


def test_a_slow_rank_gets_fewer_samples_and_a_resumed_run_goes_on_with_its_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uneven.py").write_text(UNEVEN)
    monkeypatch.chdir(tmp_path)
    asked = (
        *("train", "digits", "--model.name", "uneven:net", "--optim.batch-size", 32),
        *("--optim.lr", 0.05, "--checkpoint-steps", 10, "--optim.steps", 20),
    )
    by_speed = (*asked, "--sync.shares", "speed")
    assert firetree(*asked, "--run-dir", "one")[0] == 0
    code, out, err = firetree(*by_speed, "--run-dir", "run", ranks=2)
    assert (code, err) == (0, "")
    assert re.search(r"step (5|10|15): shares of the batch ", out)
    samples = samples_by_step(tmp_path / "run")
    assert all(sum(shares) == 32 for shares in samples)
    assert samples[0] == (16, 16)
    assert samples[-1] == pytest.approx((24, 8), abs=4)
    events = (tmp_path / "run/trace/events.jsonl").read_text().splitlines()
    assert "shares" in [json.loads(line)["kind"] for line in events]
    assert "shares of the batch" in firetree("report", "run")[1]
    one = load(last_weights(tmp_path / "one"))
    for name, weights in load(last_weights(tmp_path / "run")).items():
        torch.testing.assert_close(weights, one[name], rtol=1e-4, atol=1e-5)

    forget_after(tmp_path / "run", 10)
    code, out, err = firetree(*by_speed, "--run-dir", "run", "--resume", ranks=2)
    assert (code, err) == (0, "")
    kept = samples[10]
    assert f"shares of the batch {kept[0]}, {kept[1]}\n" in out
    assert samples_by_step(tmp_path / "run")[10] == kept
    for name, weights in load(last_weights(tmp_path / "run")).items():
        torch.testing.assert_close(weights, one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_unequal_shares_and_with_more_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uneven.py").write_text(UNEVEN)
    monkeypatch.chdir(tmp_path)
    asked = (
        *("train", "digits", "--model.name", "uneven:net", "--optim.batch-size", 32, "--optim.lr"),
        *(0.05, "--checkpoint-steps", 10, "--sync.shares", "speed"),
    )
    for ranks, steps in ((1, 10), (2, 20), (3, 30)):
        options = (*asked, "--optim.steps", steps, "--optim.rule", "constant", "--resume")
        code, _, err = firetree(*options, "--run-dir", "parts", ranks=ranks)
        assert (code, err) == (0, "")
    assert firetree(*options, "--run-dir", "one")[0] == 0
    one = load(last_weights(tmp_path / "one"))
    for name, weights in load(last_weights(tmp_path / "parts")).items():
        torch.testing.assert_close(weights, one[name], rtol=1e-4, atol=1e-5)


def test_with_batch_normalisation_shares_stay_equal_and_the_run_says_so(tmp_path: Path) -> None:
    asked = ("train", "digits", "--model.batch-norm", True, "--sync.shares", "speed")
    options = ("--optim.steps", 6, "--run-dir", tmp_path / "run")
    code, out, err = firetree(*asked, *options, ranks=2)
    assert (code, err) == (0, "")
    assert (
        "shares of the batch stay equal: batch normalisation is over each worker's own samples\n"
    ) in out
