"""Streaming DiLoCo on real ranks, against its paper's algorithm for all replicas in one loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from test_fewer_bytes import flat, loss, net, set_flat
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.sync import attach
from firetree.training.local_steps import LocalSteps
from firetree.training.recipe import SyncRecipe

RANKS, STEPS = 3, 19
OUTER = {"outer_lr": 0.7, "outer_momentum": 0.5}
RECIPES = {
    "fragments": SyncRecipe(local_steps=7, fragments=3, **OUTER),
    "overlap": SyncRecipe(local_steps=4, overlap_steps=2, **OUTER),
    "both": SyncRecipe(local_steps=9, fragments=3, overlap_steps=2, **OUTER),
    "four bits": SyncRecipe(
        local_steps=6, fragments=2, overlap_steps=1, compression="e3m0", **OUTER
    ),
}


def sgd(model: nn.Module) -> torch.optim.SGD:
    """At a low rate: rounding would grow with a higher one."""
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def on_ranks() -> dict[str, list[Any]]:
    """What each rank found with each recipe; all in one start of the ranks."""
    of_ranks = run_on_ranks(RANKS, on_rank)
    return {name: [of_rank[name] for of_rank in of_ranks] for name in RECIPES}


def on_rank() -> dict[str, Any]:
    return {name: streamed_on_rank(sync) for name, sync in RECIPES.items()}


def streamed_on_rank(sync: SyncRecipe) -> tuple[Tensor, Tensor]:
    """This rank's weights before someone looks at them, and after that."""
    parallel = DistributedDataParallel(net())
    synchroniser = attach(parallel, "ring", compression=sync.compression)
    optimizer = sgd(parallel)
    part = LocalSteps(parallel, optimizer, synchroniser, sync)
    for step in range(STEPS):
        optimizer.zero_grad()
        with parallel.no_sync():
            loss(parallel, dist.get_rank(), step).backward()
        optimizer.step()
        part.after_step(step, looked_at=False)
    before = flat(parallel.module)
    part.after_step(STEPS, looked_at=True)
    return before, flat(parallel.module)


def streamed_alone(sync: SyncRecipe) -> list[np.ndarray]:
    """Algorithm 2: the weights of each replica at the end."""
    every, count, delay = sync.local_steps, sync.fragments, sync.overlap_steps
    alpha = 0.5 if delay else 0.0
    model = net()
    shared = flat(model).double().numpy()
    replicas = [shared.copy() for _ in range(RANKS)]
    velocity, received = np.zeros_like(shared), {}
    fragments = np.array_split(np.arange(len(shared)), count)
    for t in range(1, STEPS + 1):
        for rank, own in enumerate(replicas):
            set_flat(model, torch.from_numpy(own))
            optimizer = sgd(model)
            loss(model, rank, t - 1).backward()
            optimizer.step()
            optimizer.zero_grad()
            own[:] = flat(model).numpy()
        for p, at in enumerate(fragments):
            offset = (p + 1) * every // count - delay
            if (t - offset) % every == 0:
                changes = [sent(shared[at] - own[at], sync.compression) for own in replicas]
                received[p] = sum(changes) / RANKS
            if (t - offset - delay) % every == 0:
                change = received.pop(p)
                velocity[at] = 0.5 * velocity[at] + change
                shared[at] -= 0.7 * (change + 0.5 * velocity[at])
                for own in replicas:
                    own[at] = alpha * own[at] + (1 - alpha) * shared[at]
    return replicas


def sent(change: np.ndarray, compression: str) -> np.ndarray:
    """The change as the other replicas see it: as it is, or in E3M0."""
    if compression == "none":
        return change
    levels = np.array([0.0, *(2.0**exponent for exponent in range(-6, 1))])
    found = np.zeros_like(change)
    for begin in range(0, len(change), 1024):
        block = change[begin : begin + 1024]
        largest = np.abs(block).max()
        nearest = np.abs(np.abs(block)[:, None] / largest - levels).argmin(1)
        found[begin : begin + 1024] = np.sign(block) * levels[nearest] * largest
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_fragments_take_the_steps_of_the_paper(on_ranks: dict[str, list[Any]], name: str) -> None:
    expected = streamed_alone(RECIPES[name])
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for (before, _), own in zip(on_ranks[name], expected, strict=True):
        off = np.abs(before.numpy() - own)
        assert off.max() < (1e-5 if name != "four bits" else 1e-2)
        assert (
            off < 1e-5
        ).mean() > 0.999  # a number between two levels may be rounded to the other


@pytest.mark.parametrize("name", RECIPES)
def test_ranks_have_the_same_weights_where_someone_looks(
    on_ranks: dict[str, list[Any]], name: str
) -> None:
    (before, first), *others = on_ranks[name]
    assert not torch.equal(before, first)
    assert all(torch.equal(first, other) for _, other in others)
