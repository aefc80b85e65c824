"""Batches of a script's own loop, shared by speed: gradients stay those of one process."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from command import COMMAND, LIMIT_S
from ranks import run_on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import firetree
from firetree.errors import UserError
from firetree.sync.shared_batches import SharedBatches

SAMPLES, BATCH = 103, 24


class Slow(nn.Module):
    """A network that takes so long for each sample."""

    def __init__(self, sample_s: float):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
        self.sample_s = sample_s

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.sample_s * len(x))
        result: torch.Tensor = self.layers(x)
        return result


def data() -> TensorDataset:
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 4, generator=drawn, dtype=torch.float64)
    return TensorDataset(x, x.sum(1, keepdim=True).sin(), torch.arange(SAMPLES))


def flat_gradient(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def trained(epochs: int, state: dict[str, Any] | None = None, most: int = 10**9) -> dict[str, Any]:
    """What a rank saw of each batch, and how far gradients were from those of one process."""
    dataset = data()
    alone = Slow(0.0)
    model = DistributedDataParallel(Slow(0.002 if dist.get_rank() == 0 else 0.008))
    firetree.attach(model, "ring")
    shares = firetree.shares(model, dataset, batch_size=BATCH)
    if state:
        shares.load_state_dict(state)
    loader = DataLoader(dataset, batch_sampler=shares)
    seen, errors = [], []
    while shares.epoch < epochs and len(seen) < most:
        for weigh, (x, y, numbers) in shares.over(loader):
            model.zero_grad()
            weigh((model(x) - y).square().mean()).backward()
            everyone = [None] * dist.get_world_size()
            dist.all_gather_object(everyone, numbers.tolist())
            whole = [number for some in everyone for number in some]
            seen.append([shares.epoch, everyone])
            alone.zero_grad()
            x, y, _ = dataset[whole]
            (alone(x) - y).square().mean().backward()
            errors.append((flat_gradient(model) - flat_gradient(alone)).abs().max().item())
            if len(seen) == most:
                break
    return {"seen": seen, "error": max(errors), "state": shares.state_dict()}


def test_gradients_are_those_of_one_process_while_shares_follow_speed() -> None:
    slow_one_last = run_on_ranks(3, trained, 6)
    assert max(found["error"] for found in slow_one_last) < 1e-12
    seen = slow_one_last[0]["seen"]
    assert all(found["seen"] == seen for found in slow_one_last)
    for epoch in range(6):
        numbers = [n for at, parts in seen if at == epoch for part in parts for n in part]
        assert len(numbers) == len({*numbers}) == SAMPLES
    first, last = ([len(part) for part in parts] for _, parts in (seen[0], seen[-2]))
    assert first == [8, 8, 8]
    assert sum(last) == BATCH
    assert last[0] > 10
    assert min(last) >= 1


def test_a_run_that_stopped_goes_on_with_the_samples_that_were_left() -> None:
    before = run_on_ranks(2, trained, 9, None, 7)
    states = [found["state"] for found in before]
    assert states[0] == states[1]
    after = run_on_ranks(3, trained, 2, states[0])
    seen = [*before[0]["seen"], *after[0]["seen"]]
    for epoch in range(2):
        numbers = [n for at, parts in seen if at == epoch for part in parts for n in part]
        assert len(numbers) == len({*numbers}) == SAMPLES
    assert after[0]["error"] < 1e-12


def normalised() -> tuple[list[float], tuple[int, ...]]:
    model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double())
    dataset = data()
    shares = firetree.shares(model, dataset, batch_size=BATCH)
    weights = []
    for weigh, (x, _, _) in shares.over(DataLoader(dataset, batch_sampler=shares)):
        weights.append(weigh(torch.ones(())).item())
        time.sleep(0.02 * dist.get_rank())
        weigh(model(x).square().sum()).backward()
    return weights, shares.shares


def test_shares_stay_equal_with_batch_normalisation() -> None:
    for weights, shares in run_on_ranks(2, normalised):
        assert {*weights[:-1]} == {1.0}  # the last batch has 7 samples
        assert shares == (12, 12)


def in_a_group_of_ours() -> tuple[int, ...]:
    ours = dist.new_group(backend="firetree")
    model = DistributedDataParallel(nn.Linear(4, 1).double(), process_group=ours)
    dataset = data()
    shares = firetree.shares(model, dataset, batch_size=BATCH)
    for weigh, (x, y, _) in shares.over(DataLoader(dataset, batch_sampler=shares)):
        weigh((model(x) - y).square().mean()).backward()
    return shares.shares


def test_a_group_over_our_own_wires_shares_as_any_other() -> None:
    for shares in run_on_ranks(2, in_a_group_of_ours):
        assert sum(shares) == BATCH


def differing() -> str:
    model = DistributedDataParallel(nn.Linear(4, 1))
    with pytest.raises(UserError) as failure:
        firetree.shares(model, data(), batch_size=BATCH, seed=dist.get_rank())
    return str(failure.value)


def test_ranks_with_other_arguments_are_told_on_all_ranks() -> None:
    first, second = run_on_ranks(2, differing)
    assert first == second
    assert "seed" in first


def test_what_cannot_be_shared_is_refused() -> None:
    dataset, model = data(), nn.Linear(4, 1)
    with pytest.raises(UserError, match="batch_size is 104; expected 1 or more"):
        firetree.shares(model, dataset, batch_size=104)
    shares = firetree.shares(model, dataset, batch_size=BATCH)
    with pytest.raises(UserError, match="batch_sampler=shares"):
        next(shares.over(DataLoader(dataset, batch_size=4)))
    with pytest.raises(UserError, match="was not weighed"):
        [*shares.over(DataLoader(dataset, batch_sampler=shares))]
    others = firetree.shares(model, dataset, batch_size=BATCH, seed=1)
    with pytest.raises(UserError, match="'seed': 1"):
        shares.load_state_dict(others.state_dict())
    with pytest.raises(UserError, match="of version 7"):
        shares.load_state_dict({"version": 7})


SCRIPT = """
import json, os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import firetree

dist.init_process_group("gloo")
rank = dist.get_rank()
model = DistributedDataParallel(torch.nn.Linear(4, 1))
dataset = TensorDataset(torch.randn(160, 4), torch.arange(160))
shares = firetree.shares(model, dataset, batch_size=16)
loader = DataLoader(dataset, batch_sampler=shares, num_workers=2, prefetch_factor=1 + rank)
for epoch in range(4):
    for weigh, (x, numbers) in shares.over(loader):
        time.sleep(0.005 * len(x) * (1 + 3 * rank))
        weigh(model(x).mean()).backward()
        everyone = [None, None]
        dist.all_gather_object(everyone, numbers.tolist())
        if rank == 0:
            print(json.dumps([epoch, everyone]), flush=True)
dist.destroy_process_group()
"""


def test_samples_are_seen_once_though_loaders_have_drawn_ahead(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [*COMMAND, "run", "--workers", "2", str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(seen) == 40
    for epoch in range(4):
        numbers = [n for at, parts in seen if at == epoch for part in parts for n in part]
        assert sorted(numbers) == [*range(160)]
    assert len(seen[-1][1][0]) > 8


def train(shares: SharedBatches, batches: int) -> dict[str, Any]:
    """The state after so many batches of an epoch."""
    loader = DataLoader(range(65), batch_sampler=shares)  # type: ignore[arg-type, var-annotated]
    for batch, (weigh, _) in enumerate(shares.over(loader), 1):
        weigh(torch.zeros(()))
        if batch == batches:
            return shares.state_dict()
    return {}


def go_on_with_other_ranks() -> None:
    def alone() -> SharedBatches:
        return firetree.shares(nn.Linear(4, 1), range(65), batch_size=32)

    both = firetree.shares(DistributedDataParallel(nn.Linear(4, 1)), range(65), batch_size=32)
    rest = train(alone(), 2)
    with pytest.raises(UserError, match="samples left of the epoch: 1, fewer than the 2 ranks"):
        both.load_state_dict(rest)
    after_all = alone()
    after_all.load_state_dict(train(both, 2))
    assert train(after_all, 1) == {}
    assert after_all.epoch == 1


def test_an_epoch_that_has_fewer_batches_with_more_ranks_repeats_and_skips_no_sample() -> None:
    run_on_ranks(2, go_on_with_other_ranks)
