"""Reads the trained weights from a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from firetree.errors import UserError
from firetree.training import checkpoint
from firetree.training.recipe import Recipe
from firetree.training.recipe_file import read_kept_recipe


@dataclass(frozen=True, slots=True)
class Trained:
    """A run's newest whole checkpoint, with its recipe."""

    recipe: Recipe
    data: Mapping[str, Any]
    """What the task says about its data."""
    weights: Mapping[str, Tensor]


def read_run(folder: Path) -> Trained:
    """Read the folder of a run, which may still go on.

    Raises:
        UserError: no run's folder, or one without a whole checkpoint.
    """
    path = folder / "recipe.toml"
    if not path.is_file():
        raise UserError(
            f"{folder} is no run's folder; expected one that firetree train has written"
        )
    recipe = read_kept_recipe(path)
    newest, _ = checkpoint.newest(folder / "checkpoints")
    if newest is None:
        raise UserError(f"{folder} has no whole checkpoint; expected a run that has one")
    return Trained(recipe, newest.state.data, newest.model)
