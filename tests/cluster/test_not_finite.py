"""A number that is not finite on one rank ends, or is left out on, all ranks alike."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.data import Batch
from firetree.launch import Place
from firetree.train.finite import NotFiniteError
from firetree.train.recipe import OptimRecipe, Recipe, SyncRecipe
from firetree.train.worker import build_worker, load_task, settle, train_step


def spoilt_step(sync: SyncRecipe) -> tuple[str, bool]:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = Recipe(optim=OptimRecipe(batch_size=16, ema=0.5), sync=sync)
    place = Place(rank, world_size, world_size, "127.0.0.1", 0)
    worker = build_worker(recipe, place, load_task(recipe))
    settle(worker)
    before = {name: value.clone() for name, value in worker.model.state_dict().items()}
    batch = next(worker.loader.training_batches(0))
    x_BCHW = torch.full_like(batch.x_BCHW, torch.nan) if rank == 1 else batch.x_BCHW
    spoilt = iter([Batch(x_BCHW, batch.y_B, batch.global_count)])
    with pytest.raises(NotFiniteError) as caught:
        train_step(worker, spoilt, 7, 0.1)
    after = worker.model.state_dict()
    return str(caught.value), all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("sync", "said"),
    [
        (SyncRecipe(), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(algorithm="ring", compression="int8"), "the loss is nan at step 7, first in "),
        (SyncRecipe(compression="topk:0.01"), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(local_steps=3), "a loss or gradient is not finite in the 3 local steps before"),
    ],
    ids=["exact", "int8", "topk", "local steps"],
)
def test_all_ranks_say_the_same_and_keep_their_weights(sync: SyncRecipe, said: str) -> None:
    found = run_on_ranks(3, spoilt_step, sync)
    assert len({message for message, _ in found}) == 1
    assert found[0][0].startswith(said)
    assert all(kept for _, kept in found)
    if sync.local_steps == 1:
        assert "on rank 1" in found[0][0]
