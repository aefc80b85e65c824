"""Training: a recipe, the workers that follow it, and the folder in which a run is kept."""

from __future__ import annotations

from firetree.train.launch import Interrupted, follow_launcher, launch, tell_launcher
from firetree.train.loop import check_world_size, train
from firetree.train.place import ALONE, Place, find_place
from firetree.train.recipe import Recipe, check_recipe, known_recipes, load_recipe

__all__ = [
    "ALONE",
    "Interrupted",
    "Place",
    "Recipe",
    "check_recipe",
    "check_world_size",
    "find_place",
    "follow_launcher",
    "known_recipes",
    "launch",
    "load_recipe",
    "tell_launcher",
    "train",
]
