"""Training: a recipe, the workers that follow it, and the folder in which a run is kept."""

from __future__ import annotations

from firetree.training.alike import check_world_size, refuse
from firetree.training.loop import train
from firetree.training.own_network import build_network
from firetree.training.planning import AUTO, IfSlower
from firetree.training.range_test import RangeTest, find_rate
from firetree.training.recipe import Recipe, check_kind, check_recipe
from firetree.training.recipe_file import (
    known_recipes,
    load_recipe,
    read_kept_recipe,
    read_recipe,
    recipe_toml,
    with_fields,
)
from firetree.training.trained import Trained, check_ours, read_run
from firetree.training.worker import load_task

__all__ = [
    "AUTO",
    "IfSlower",
    "RangeTest",
    "Recipe",
    "Trained",
    "build_network",
    "check_kind",
    "check_ours",
    "check_recipe",
    "check_world_size",
    "find_rate",
    "known_recipes",
    "load_recipe",
    "load_task",
    "read_kept_recipe",
    "read_recipe",
    "read_run",
    "recipe_toml",
    "refuse",
    "train",
    "with_fields",
]
