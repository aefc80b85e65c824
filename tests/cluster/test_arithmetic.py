"""What a run computes in is chosen by rank 0 for all and kept; compiled networks train the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree
from ranks import run_on_ranks

from firetree import models
from firetree.launch import RankInfo
from firetree.training import load_recipe
from firetree.training.arithmetic import Arithmetic, choose_arithmetic
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

STEPS = ("train", "digits", "--precision", "auto", "--optim.steps")


def chosen(earlier: Arithmetic | None) -> tuple[Arithmetic, str | None]:
    model = models.build("squeezenet_small", classes=10, channels=1, size=8)
    # Only rank 0 knows of an earlier choice, and each rank would choose for itself.
    known = earlier if dist.get_rank() == 0 else None
    return choose_arithmetic("auto", model, torch.zeros(4, 1, 8, 8), known)


def test_all_ranks_compute_alike() -> None:
    assert len({arithmetic for arithmetic, _ in run_on_ranks(3, chosen, None)}) == 1


def test_what_was_chosen_once_stays() -> None:
    earlier = Arithmetic("bfloat16", channels_last=False)
    for arithmetic, remark in run_on_ranks(2, chosen, earlier):
        assert arithmetic == earlier
        assert remark == "computing in bfloat16, channels first, as before"


def test_the_choice_is_said_and_kept_by_a_resumed_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    code, out, err = firetree(*STEPS, 3, "--run-dir", run_dir)
    assert (code, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("computing in")]
    assert "ms a step" in line
    kept = run_dir / "arithmetic.json"
    kept.write_text(json.dumps({"precision": "bfloat16", "channels_last": False}))
    code, out, err = firetree(*STEPS, 5, "--run-dir", run_dir, "--resume")
    assert (code, err) == (0, "")
    assert "computing in bfloat16, channels first, as before" in out
    assert json.loads(kept.read_text())["precision"] == "bfloat16"


def weights_after(steps: int, compile_: bool) -> tuple[list[torch.Tensor], tuple[str, ...], int]:
    recipe = replace(load_recipe("digits"), compile=compile_)
    rank_info = RankInfo(dist.get_rank(), dist.get_world_size(), dist.get_world_size(), "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    batches = worker.loader.batches(0)
    buckets = 0
    for step in range(steps):
        trace, _ = train_step(worker, batches, step, 0.05)
        buckets += len(trace.buckets)
    return [p.detach() for p in worker.model.parameters()], worker.remarks, buckets


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_compiled_network_trains_as_it_does_without() -> None:
    plain, compiled = (run_on_ranks(2, weights_after, 3, flag) for flag in (False, True))
    for (ours, remarks, buckets), (theirs, _, expected_buckets) in zip(
        compiled, plain, strict=True
    ):
        assert not [remark for remark in remarks if "compile" in remark]
        assert buckets == expected_buckets
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_without_a_compiler_a_run_goes_on_and_says_so(tmp_path: Path) -> None:
    environ = {"CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    code, out, err = firetree(
        *("train", "digits", "--compile", "--optim.steps", 2, "--run-dir", tmp_path / "run"),
        environ=environ,
    )
    assert (code, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("compile is left out")]
    assert "as it fails on this machine: InvalidCxxCompiler" in line
