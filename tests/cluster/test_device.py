"""Where there is a GPU a run is on it, and trains as on the CPU; where there is none it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree
from ranks import run_on_ranks

from firetree.collectives import Executor, build
from firetree.errors import UserError
from firetree.launch import RankInfo, find_device
from firetree.planning.compressions import parse_compression
from firetree.sync import FixedAlgorithm, Synchroniser
from firetree.training import load_recipe
from firetree.training.evaluation import evaluate
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="PyTorch finds no GPU here")
needs_none = pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")


def rank_info() -> RankInfo:
    return RankInfo(dist.get_rank(), dist.get_world_size(), dist.get_world_size(), "", 0)


def found(wanted: str) -> tuple[str, str]:
    try:
        return find_device(wanted, rank_info()).type, ""  # type: ignore[arg-type]
    except UserError as error:
        return "", str(error)


@needs_none
def test_without_gpus_all_ranks_compute_on_processors() -> None:
    assert run_on_ranks(2, found, "auto") == [("cpu", "")] * 2


@needs_none
def test_a_gpu_that_is_asked_for_and_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    code, out, err = firetree("train", "digits", "--device", "cuda", "--run-dir", run_dir)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "device = cuda, but rank 0's host has 0 GPUs for 1 workers" in err
    assert not list(run_dir.glob("checkpoints"))


def trained(device: str, compression: str, local_steps: int) -> tuple[list[float], float, int]:
    """The losses of four steps, the accuracy after them, and the buckets that were summed."""
    if device == "cpu":
        torch.cuda.is_available = lambda: False  # as where GPUs are hidden
    recipe = replace(load_recipe("digits"), device=device)
    recipe = replace(
        recipe, sync=replace(recipe.sync, compression=compression, local_steps=local_steps)
    )
    worker = build_worker(recipe, rank_info(), load_task(recipe))
    assert worker.device.type == device
    settle(worker)
    batches = worker.loader.batches(0)
    losses, buckets = [], 0
    for step in range(4):
        trace, loss = train_step(worker, batches, step, 0.05)
        losses.append(loss)
        buckets += len(trace.buckets)
        assert all(span.ready_s <= span.start_s <= span.end_s for span in trace.buckets)
    worker.restore(worker.state())
    return losses, evaluate(worker).accuracy, buckets


@needs_gpu
@pytest.mark.parametrize(
    ("compression", "local_steps"),
    [
        *(("none", 1), ("bf16", 1), ("int8", 1), ("topk:0.1", 1), ("powersgd:2", 1), ("none", 2)),
        *(("sparseloco:0.1", 2), ("demo:8", 1)),
    ],
)
def test_a_gpu_trains_as_the_processor_does(compression: str, local_steps: int) -> None:
    [ours] = run_on_ranks(1, trained, "cuda", compression, local_steps)
    [expected] = run_on_ranks(1, trained, "cpu", compression, local_steps)
    assert ours[0] == pytest.approx(expected[0], rel=1e-2)
    assert ours[1] == pytest.approx(expected[1], abs=0.02)
    assert ours[2] == expected[2]


def refusal_beside_a_gpu() -> str:
    torch.cuda.is_available = lambda: True
    try:
        Synchroniser(
            FixedAlgorithm("ring", 1), dist.group.WORLD, 60.0, parse_compression("powersgd:2")
        )
    except UserError as error:
        return str(error)
    return ""


def test_powersgd_on_processors_beside_a_gpu_is_refused_in_one_line() -> None:
    [refusal] = run_on_ranks(1, refusal_beside_a_gpu)
    assert "hide the GPU with CUDA_VISIBLE_DEVICES= in the environment" in refusal
    assert "\n" not in refusal


@needs_gpu
def test_a_run_on_a_gpu_is_resumed_on_the_processor(tmp_path: Path) -> None:
    command = ("train", "digits", "--run-dir", tmp_path / "run", "--optim.steps")
    assert firetree(*command, 20, "--device", "cuda", "--precision", "auto")[0] == 0
    code, out, _ = firetree(*command, 40, "--device", "cpu", "--resume")
    assert code == 0
    assert "resumed at step 20 of 40" in out


def summed_over_nccl() -> list[bool]:
    group = dist.new_group([0], backend="nccl")
    assert isinstance(group, dist.ProcessGroup)
    executor = Executor(build("ring", 1, 4), group)
    buffer = torch.arange(1000.0, device="cuda")
    executor.run(buffer)
    return [torch.equal(buffer.cpu(), torch.arange(1000.0))]


@needs_gpu
def test_a_schedule_is_carried_out_over_nccl() -> None:
    assert run_on_ranks(1, summed_over_nccl) == [[True]]
