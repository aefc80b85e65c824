"""Training that starts from a run's weights: workers equal one, what is frozen stays, a resume changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command import firetree, last_weights
from safetensors.torch import load

from firetree.metrics import read_metrics

DIGITS = ("train", "digits", "--optim.batch-size", 32, "--optim.rule", "constant")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    assert firetree(*DIGITS, "--optim.steps", 20, "--run-dir", run_dir)[0] == 0
    return run_dir


def tuned(trained: Path, run_dir: Path, steps: int, *options: object, ranks: int = 1) -> bytes:
    start = ("--model.weights", trained, "--model.freeze", "conv1,fire2", "--optim.lr", 0.05)
    rates = ("--optim.backbone-lr", 0.005, "--optim.steps", steps, "--run-dir", run_dir)
    code, out, err = firetree(*DIGITS, *start, *rates, *options, ranks=ranks)
    assert (code, err) == (0, "")
    assert f"training starts from {trained}; its last layer stays" in out or "--resume" in options
    return last_weights(run_dir)


def test_two_workers_end_with_the_weights_of_one_and_what_is_frozen_stays(
    trained: Path, tmp_path: Path
) -> None:
    before = load(last_weights(trained))
    one = load(tuned(trained, tmp_path / "one", 8))
    two = load(tuned(trained, tmp_path / "two", 8, ranks=2))
    for name, tensor in before.items():
        assert torch.equal(tensor, one[name]) == name.startswith(("conv1.", "fire2."))
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-4)


def test_a_resumed_run_ends_with_the_same_bits(trained: Path, tmp_path: Path) -> None:
    whole = tuned(trained, tmp_path / "whole", 8)
    tuned(trained, tmp_path / "run", 4)
    assert tuned(trained, tmp_path / "run", 8, "--resume") == whole


def test_a_run_that_does_not_improve_ends_early_and_says_so(trained: Path, tmp_path: Path) -> None:
    options = ("--optim.lr", 1e-9, "--optim.epochs", 9, "--optim.patience", 2)
    balanced = ("--optim.class-weights", "balanced", "--run-dir", tmp_path / "run")
    code, out, err = firetree(*DIGITS, "--model.weights", trained, *options, *balanced)
    assert (code, err) == (0, "")
    assert "ended early: no evaluation of the last 2 was better than test accuracy " in out
    assert len(read_metrics(tmp_path / "run")) == 3


def test_a_sweep_counts_each_way_to_start_by_itself(trained: Path, tmp_path: Path) -> None:
    start = ("--vary", f"model.weights={trained}", "--vary", "model.freeze=features,no-such-layer")
    code, _, err = firetree("sweep", "digits", *start, "--runs", tmp_path / "runs")
    assert code == 2
    assert "model.freeze: the network has no layer 'no-such-layer'" in err
    assert not (tmp_path / "runs").exists()


def test_a_googlenet_starts_from_its_own_run_with_new_classifiers(tmp_path: Path) -> None:
    net = ("--model.name", "googlenet", "--optim.steps", 1, "--data.classes")
    before, after = tmp_path / "before", tmp_path / "after"
    assert firetree(*DIGITS, *net, 12, "--run-dir", before)[0] == 0
    options = ("--model.weights", before, "--model.freeze", "features", "--run-dir", after)
    code, out, err = firetree(*DIGITS, *net, 10, *options)
    assert (code, err) == (0, "")
    assert "its last layer is new, for 10 classes" in out
    old, new = load(last_weights(before)), load(last_weights(after))
    kept = [name for name, tensor in new.items() if torch.equal(tensor, old[name])]
    is_new = [name.startswith("classifier.") or ".fc2." in name for name in new]
    assert [name not in kept for name in new] == is_new
