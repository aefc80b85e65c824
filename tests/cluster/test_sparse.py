"""Sparse training in real runs: the zeros are there on disk, and a resumed run keeps the same ones."""

from __future__ import annotations

from pathlib import Path

from command import firetree, last_weights
from safetensors.torch import load

RUN = ("train", "digits", "--optim.batch-size", 256, "--optim.rule", "constant")
RUN += ("--sparse.density", 0.3)


def test_a_sparse_run_ends_with_so_many_zeros_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run_dir, steps, more in ((whole, 8, ()), (parts, 5, ()), (parts, 8, ("--resume",))):
        code, _, err = firetree(*RUN, "--optim.steps", steps, "--run-dir", run_dir, *more)
        assert code == 0, err
    assert last_weights(parts) == last_weights(whole)
    weights = load(last_weights(whole))
    for name, tensor in weights.items():
        if tensor.ndim > 1:
            kept = int((tensor != 0).sum())
            assert kept == max(1, round(0.3 * tensor.numel())), name


def test_sparse_training_with_local_steps_is_refused(tmp_path: Path) -> None:
    code, out, err = firetree(*RUN, "--sync.local-steps", 4, "--run-dir", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err == "firetree: sparse.density and sync.local_steps; expected one of them\n"
