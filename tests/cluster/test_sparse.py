"""Sparse training in real runs: the zeros are there on disk, and a resumed run keeps the same ones."""

from __future__ import annotations

from pathlib import Path

from command import firetree, resumed_weights
from safetensors.torch import load

RUN = ("train", "digits", "--optim.batch-size", 256, "--optim.rule", "constant")
RUN += ("--sparse.density", 0.3)


def test_a_sparse_run_ends_with_so_many_zeros_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    asked = (
        *RUN,
        "--sparse.first-epoch",
        0.5,
        "--optim.ema",
        0.9,
        "--optim.steps",
        8,
        "--checkpoint-steps",
        5,
        "--run-dir",
        run_dir,
    )
    weights = load(resumed_weights(asked, run_dir, step=5, steps=8))
    for name, tensor in weights.items():
        if tensor.ndim > 1:
            kept = int((tensor != 0).sum())
            assert kept == max(1, round(0.3 * tensor.numel())), name


def test_sparse_training_with_local_steps_is_refused(tmp_path: Path) -> None:
    code, out, err = firetree(*RUN, "--sync.local-steps", 4, "--run-dir", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err == "firetree: sparse.density and sync.local_steps = 4; expected one of them\n"
