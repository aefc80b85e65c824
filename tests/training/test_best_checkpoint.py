"""The best checkpoint stays beside the newest ones, a link leads to it, and a torn write never loses it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from test_checkpoint import damage

from firetree.errors import UserError
from firetree.training import Recipe, checkpoint, read_run
from firetree.training.checkpoint import Checkpoint, TrainingState
from firetree.training.recipe_file import write_kept_recipe


def add(folder: Path, step: int, best: int | None, keep: int = 1) -> None:
    captured = Checkpoint(TrainingState(step, {}, {}), {"w": torch.tensor([float(step)])}, {})
    checkpoint.write(folder, captured, keep, best)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_best_stays_and_the_one_before_it_goes(tmp_path: Path) -> None:
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 3)):
        add(tmp_path, step, best)
    assert names(tmp_path) == ["best", "step-00000003", "step-00000005"]
    assert (tmp_path / "best").resolve().name == "step-00000003"


def test_a_best_evaluation_without_a_checkpoint_has_no_link(tmp_path: Path) -> None:
    add(tmp_path, 1, 1)
    add(tmp_path, 5, 3)
    assert names(tmp_path) == ["step-00000005"]


def test_the_best_before_stays_until_the_link_leads_to_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, 1, 1)

    def die(folder: Path, step: int | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "mark_best", die)
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, 2, 2)
    assert (tmp_path / "best").resolve().name == "step-00000001"
    assert names(tmp_path) == ["best", "step-00000001", "step-00000002"]


def test_where_links_cannot_be_the_checkpoint_stays_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(link: Path, target: str) -> None:
        raise PermissionError

    monkeypatch.setattr(checkpoint, "link_durably", refuse)
    for step in (1, 2, 3):
        add(tmp_path, step, 1)
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_kept_recipe(folder / "recipe.toml", Recipe())
    for step in (3, 5):
        add(folder / "checkpoints", step, 3)
    return folder


@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("", 5),
        ("checkpoints/best", 3),
        ("checkpoints/step-00000003", 3),
        ("checkpoints/step-00000005", 5),
    ],
)
def test_a_run_is_its_newest_checkpoint_and_each_can_be_named(
    run_dir: Path, place: str, step: int
) -> None:
    assert read_run(run_dir / place).weights["w"].item() == step


def test_a_damaged_checkpoint_that_is_named_is_refused(run_dir: Path) -> None:
    damage(run_dir / "checkpoints" / "step-00000003")
    with pytest.raises(UserError, match="checkpoint step-00000003 is damaged"):
        read_run(run_dir / "checkpoints" / "best")


@pytest.mark.parametrize("place", ["checkpoints", "/", "checkpoints/step-00000003/.."])
def test_another_folder_is_no_run(run_dir: Path, place: str) -> None:
    with pytest.raises(UserError, match="is no run's folder"):
        read_run(run_dir / place)


def test_a_checkpoint_alone_has_no_recipe(run_dir: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run_dir / "checkpoints" / "step-00000003", tmp_path / "step-00000003")
    with pytest.raises(UserError, match="is no run's folder"):
        read_run(alone)


def test_a_copy_that_followed_the_link_is_read_and_becomes_a_link_again(
    run_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    best = copy / "checkpoints" / "best"
    assert not best.is_symlink()
    assert read_run(best).weights["w"].item() == 3
    add(copy / "checkpoints", 9, 9)
    assert best.is_symlink()
    assert read_run(best).weights["w"].item() == 9
