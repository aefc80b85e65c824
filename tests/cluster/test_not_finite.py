"""A number that is not finite on one rank ends, or is left out on, all ranks alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree
from ranks import run_on_ranks

from firetree.data import Batch
from firetree.launch import RankInfo
from firetree.training.finite import NotFiniteError, not_finite
from firetree.training.recipe import OptimRecipe, Recipe, SyncRecipe
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task


def spoilt_step(sync: SyncRecipe) -> tuple[str, bool]:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = Recipe(optim=OptimRecipe(batch_size=16, ema=0.5), sync=sync)
    rank_info = RankInfo(rank, world_size, world_size, "127.0.0.1", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    before = {name: value.clone() for name, value in worker.model.state_dict().items()}
    batch = next(worker.loader.training_batches(0))
    x_BCHW = torch.full_like(batch.x, torch.nan) if rank == 1 else batch.x
    spoilt = iter([Batch(x_BCHW, batch.y, batch.global_count)])
    with pytest.raises(NotFiniteError) as caught:
        train_step(worker, spoilt, 7, 0.1)
    after = worker.model.state_dict()
    kept = all(torch.equal(before[name], after[name]) for name in before)
    trace, _ = train_step(worker, iter([batch]), 8, 0.1)
    assert all(bucket.ready_s >= trace.start_s for bucket in trace.buckets)
    return str(caught.value), kept


@pytest.mark.parametrize(
    ("sync", "said"),
    [
        (SyncRecipe(), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(algorithm="ring", compression="int8"), "the loss is nan at step 7, first in "),
        (SyncRecipe(compression="topk:0.01"), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(compression="powersgd:2"), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(compression="turns:9"), "the loss is nan at step 7, first in layer "),
        (SyncRecipe(local_steps=3), "a loss or gradient is not finite in the 3 local steps before"),
        (
            SyncRecipe(local_steps=6, fragments=3, overlap_steps=1),
            "a loss or gradient is not finite in the 6 local steps before",
        ),
        pytest.param(
            SyncRecipe(compression="demo"), "the loss is nan at step 7, ", marks=pytest.mark.slow
        ),
        pytest.param(
            SyncRecipe(compression="sparseloco", local_steps=3),
            "a loss or gradient is not finite in the 3 local steps before",
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        "exact",
        "int8",
        "topk",
        "powersgd",
        "turns",
        "local steps",
        "fragments",
        "DeMo",
        "SparseLoCo",
    ],
)
def test_all_ranks_say_the_same_keep_their_weights_and_can_go_on(
    sync: SyncRecipe, said: str
) -> None:
    found = run_on_ranks(3, spoilt_step, sync)
    assert len({message for message, _ in found}) == 1
    assert found[0][0].startswith(said)
    assert all(kept for _, kept in found)
    if sync.local_steps == 1:
        assert "on rank 1" in found[0][0]


def far_too_long_gradients() -> str:
    model = torch.nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e20)
    return str(not_finite(model, torch.ones(1, 3), 1.0, 5))


def test_finite_gradients_whose_length_is_infinite_are_named() -> None:
    (said,) = run_on_ranks(1, far_too_long_gradients)
    assert said == "the norm of all gradients is not finite at step 5; lower optim.lr"


def test_an_epoch_all_of_whose_steps_are_left_out_is_evaluated_all_the_same(tmp_path: Path) -> None:
    # An epoch is one step. The first one spoils the weights, and no later one can be made.
    code, out, err = firetree(
        *("train", "digits", "--optim.batch-size", 2000, "--optim.lr", 1e30, "--optim.steps", 3),
        *("--optim.rule", "constant", "--on-nan", "skip", "--run-dir", tmp_path / "run"),
    )
    assert (code, err) == (0, "")
    assert out.count("the step is left out") == 2
    assert out.count("0 samples/s") >= 2
