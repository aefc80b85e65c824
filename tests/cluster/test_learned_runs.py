"""Real runs tell how they learned and what became of each class, and keep their best checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import firetree, forget_after, last_weights
from sklearn.datasets import load_digits

from firetree.confusion import read_confusions
from firetree.metrics import read_metrics
from firetree.reporting import report
from firetree.training import checkpoint, read_run

pytestmark = pytest.mark.slow

TINY = ("--model.base-e", 8, "--model.incr-e", 4, "--optim.batch-size", 32)


def trained(run_dir: Path, *options: object, ranks: int = 1, code: int = 0) -> str:
    ended, out, err = firetree("train", "digits", *options, "--run-dir", run_dir, ranks=ranks)
    assert ended == code, err
    return out


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Forty digits to train on, and a thousand to test."""
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    path = tmp_path / "few.npz"
    arrays = {"x_train": pixels[:40], "y_train": labels[:40], "x_test": pixels[700:1700]}
    np.savez(path, **arrays, y_test=labels[700:1700])
    return path


def test_forty_images_are_learned_by_heart_and_the_best_checkpoint_stays(
    tmp_path: Path, few: Path
) -> None:
    run_dir = tmp_path / "run"
    out = trained(
        run_dir,
        *("--data.name", "npz", "--data.path", few, "--data.crop-padding", 0),
        *("--optim.epochs", 60, "--optim.rule", "constant", "--optim.lr", 0.05),
        *("--optim.batch-size", 20, "--keep-checkpoints", 1, "--evaluate-epochs", 3),
    )
    found = report(run_dir)
    assert found.learning
    assert found.learning.kind == "over_fitted", found.learning
    best = max(read_metrics(run_dir), key=lambda it: it.score)
    assert found.learning.best_step == best.step
    kept = checkpoint.step_folders(run_dir / "checkpoints")
    assert {it.name for it in kept} == {"step-00000120", f"step-{best.step:08d}"}
    link = run_dir / "checkpoints" / "best"
    assert link.resolve().name == f"step-{best.step:08d}"
    assert f"{best.scored}: {link}" in out
    assert str(link) in found.learning.advice


@pytest.mark.parametrize(
    ("rate", "clip", "code"), [(5.0, 1.0, 0), (300.0, "None", 1)], ids=["guesses", "not finite"]
)
def test_a_rate_too_high_is_told(tmp_path: Path, rate: float, clip: object, code: int) -> None:
    options = ("--optim.lr", rate, "--optim.clip-norm", clip, "--optim.epochs", 4)
    trained(tmp_path / "run", *options, "--optim.warmup-epochs", 0.1, code=code)
    found = report(tmp_path / "run").learning
    assert found
    assert found.kind == "rate_too_high", found
    assert found.command.endswith(f"--optim.lr {rate / 10:g}")


def test_a_healthy_run_gives_no_alarm(tmp_path: Path) -> None:
    trained(tmp_path / "run", "--optim.epochs", 6)
    found = report(tmp_path / "run").learning
    assert found
    assert found.kind in ("steady", "still_learning"), found


def test_two_workers_tell_of_classes_what_one_tells(tmp_path: Path) -> None:
    told = []
    for ranks in (1, 2):
        run_dir = tmp_path / f"{ranks}"
        trained(run_dir, *TINY, "--optim.steps", 8, ranks=ranks)
        confusions = read_confusions(run_dir)
        assert confusions
        told.append(confusions.newest)
    one, two = told
    assert one.total == two.total
    assert sum(one.total) > 300
    assert abs(sum(one.right) - sum(two.right)) <= 2  # sums in another order
    assert {it.name for it in one.worst} & {it.name for it in two.worst}
    accuracy = read_metrics(tmp_path / "1")[-1].accuracy
    assert sum(one.right) / sum(one.total) == pytest.approx(accuracy)


def state(run_dir: Path) -> tuple[bytes, str, Any, list[str]]:
    kept = [it.name for it in checkpoint.step_folders(run_dir / "checkpoints")]
    confusions = json.loads((run_dir / "confusion.json").read_text())
    return (
        last_weights(run_dir),
        (run_dir / "checkpoints" / "best").resolve().name,
        confusions,
        kept,
    )


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_broken_off_after_any_checkpoint_a_run_ends_with_the_same_best(
    tmp_path: Path, ranks: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = (*TINY, "--optim.epochs", 5, "--checkpoint-steps", 60, "--keep-checkpoints", 2)
    trained(whole, *options, ranks=ranks)
    trained(broken, *options, "--keep-checkpoints", 9, ranks=ranks)
    steps = [
        checkpoint.read(it).state.step for it in checkpoint.step_folders(broken / "checkpoints")
    ]
    assert len(steps) > 4
    for step in (steps[1], steps[-2]):
        again = shutil.copytree(broken, tmp_path / f"after-{step}", symlinks=True)
        forget_after(again, step)
        assert "resumed at step" in trained(again, *options, "--resume", ranks=ranks)
        assert state(again)[:3] == state(whole)[:3]


def test_the_best_can_be_given_wherever_a_run_can(tmp_path: Path) -> None:
    run_dir, best = tmp_path / "run", tmp_path / "run" / "checkpoints" / "best"
    trained(run_dir, *TINY, "--optim.epochs", 3)
    assert firetree("compress", best, tmp_path / "small.fire", "--lossless")[0] == 0
    assert firetree("inspect", best)[0] == 0
    out = trained(tmp_path / "tuned", *TINY, "--model.weights", best, "--optim.steps", 1)
    assert f"training starts from {best}" in out
    assert read_run(best).recipe == read_run(run_dir).recipe


def test_without_keep_best_only_the_newest_are_kept(tmp_path: Path) -> None:
    trained(tmp_path / "run", *TINY, "--optim.epochs", 3, "--no-keep-best")
    [only] = (tmp_path / "run" / "checkpoints").iterdir()
    assert only.name == f"step-{read_metrics(tmp_path / 'run')[-1].step:08d}"


def test_data_without_classes_have_no_such_file(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    options = ("--data.examples", 60, "--optim.steps", 2, "--run-dir", run_dir)
    assert firetree("train", "associative-retrieval", *options)[0] == 0
    assert not (run_dir / "confusion.json").exists()
    assert not report(run_dir).classes
