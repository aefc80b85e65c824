"""Networks with batch normalisation of their own, and mixed images, trained by one worker and by two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command import firetree, last_weights, resumed_weights
from safetensors.torch import load

from firetree.modelfiles import load_model

pytestmark = pytest.mark.slow

DIGITS = ("train", "digits", "--optim.rule", "constant", "--optim.lr", 0.01)
MIXED = ("--data.mixup", 0.4, "--data.cutmix", 1, "--data.erase", 0.2, "--data.rand-augment", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    net = ("--model.name", "mobilenet_v3_small", "--optim.steps", 2)
    assert firetree(*DIGITS, *net, "--run-dir", run_dir)[0] == 0
    return run_dir


def weights(run_dir: Path, *options: object, ranks: int = 1) -> dict[str, torch.Tensor]:
    code, _, err = firetree(*DIGITS, *options, "--run-dir", run_dir, ranks=ranks)
    assert (code, err) == (0, "")
    return load(last_weights(run_dir))


def test_frozen_layers_keep_their_statistics_and_two_workers_equal_one(
    trained: Path, tmp_path: Path
) -> None:
    start = ("--model.name", "mobilenet_v3_small", "--model.weights", trained)
    options = (*start, "--model.freeze", "features", "--model.dropout", 0, "--optim.steps", 4)
    before = load(last_weights(trained))
    one = weights(tmp_path / "one", *options)
    two = weights(tmp_path / "two", *options, ranks=2)
    for name, tensor in before.items():
        if name.endswith("num_batches_tracked"):
            continue
        assert torch.equal(tensor, one[name]) != name.startswith("classifier.3."), name
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


def test_a_worker_without_a_share_of_a_batch_goes_on(tmp_path: Path) -> None:
    few = ("--data.test-fraction", 0.98, "--optim.batch-size", 35, "--optim.epochs", 1)
    trained = weights(tmp_path / "run", "--model.name", "mobilenet_v3_small", *few, ranks=2)
    assert all(it.isfinite().all() for it in trained.values())
    assert int(trained["features.0.1.num_batches_tracked"]) == 1, (
        "36 images: the second batch has one"
    )
    assert load_model(tmp_path / "run").network == "mobilenet_v3_small"


def test_two_workers_train_on_the_mixtures_of_one(tmp_path: Path) -> None:
    options = (*MIXED, "--optim.label-smoothing", 0.1, "--optim.accumulate", 2, "--optim.steps", 8)
    one = weights(tmp_path / "one", *options)
    two = weights(tmp_path / "two", *options, ranks=2)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-4)


def test_a_resumed_run_of_mixtures_ends_with_the_same_bits(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    asked = (*DIGITS, *MIXED, "--optim.steps", 40, "--checkpoint-steps", 20, "--run-dir", run_dir)
    resumed_weights(asked, run_dir, step=20, steps=40, ranks=1)
