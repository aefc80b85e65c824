"""Reads the trained weights from a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from firetree import own_code
from firetree.errors import UserError
from firetree.training import checkpoint
from firetree.training.checkpoint import Checkpoint
from firetree.training.recipe import Recipe
from firetree.training.recipe_file import read_kept_recipe


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint of a run, with the run's recipe."""

    recipe: Recipe
    data: Mapping[str, Any]
    """What the task says about its data."""
    weights: Mapping[str, Tensor]


def read_run(folder: Path) -> Trained:
    """Read the newest whole checkpoint of a run, which may still go on; or the one whose folder it is.

    Raises:
        UserError: no run's folder, or one without a whole checkpoint; or a checkpoint that is damaged.
    """
    if (folder / "recipe.toml").is_file():
        recipe = read_kept_recipe(folder / "recipe.toml")
        found = _newest(folder)
    else:
        step = folder.resolve()  # `best` is a link to it
        path = step.parent.parent / "recipe.toml"
        if not checkpoint.is_folder(step) or not path.is_file():
            raise UserError(
                f"{folder} is no run's folder; expected one that firetree train has written, or a "
                "checkpoint in it"
            )
        recipe = read_kept_recipe(path)
        found = checkpoint.read(step)
    return Trained(recipe, found.state.data, found.model)


def check_ours(trained: Trained, folder: Path) -> None:
    """Refuse the run of a network of the user's own, whose code is not run (UserError)."""
    if own_code.is_own(name := trained.recipe.model.name):
        raise UserError(
            f"{folder} is a run of {name}, which is not built here; firetree.Run({str(folder)!r}).weights() has its "
            "weights, for load_state_dict"
        )


def _newest(folder: Path) -> Checkpoint:
    newest, _ = checkpoint.newest(folder / "checkpoints")
    if newest is None:
        raise UserError(f"{folder} has no whole checkpoint; expected a run that has one")
    return newest
