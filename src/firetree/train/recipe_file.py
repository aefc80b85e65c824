"""Recipes as TOML: ready ones by name, files by path, and single values from the command line."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from firetree.documents import from_document, parse_toml, read_text
from firetree.errors import UserError, nearest
from firetree.train.recipe import Recipe


def known_recipes() -> tuple[str, ...]:
    """The names of the ready recipes."""
    names = (file.name for file in resources.files("firetree").joinpath("recipes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a ready recipe by name, or any TOML file by path.

    Raises:
        UserError: no such recipe, not TOML, or a field or value that a recipe does not have.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"no recipe file '{name_or_path}'; expected a TOML file")
        text = read_text(path, "recipe")
    elif name_or_path in known_recipes():
        source = resources.files("firetree").joinpath("recipes", f"{name_or_path}.toml")
        text = source.read_text(encoding="utf-8")
    else:
        raise UserError(f"no recipe '{name_or_path}'{nearest(name_or_path, known_recipes())}")
    return parse_recipe(text, name_or_path)


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a recipe from TOML text; `source` names it in errors (UserError)."""
    return parse_toml(Recipe, text, f"recipe {source}")


def with_fields(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """The recipe with other values, as TOML has them, of fields named as in `optim.lr`.

    A value that is no TOML is text.

    Raises:
        UserError: no such field, or not a value for it.
    """
    document = tomllib.loads(recipe_toml(recipe))
    for field_path, text in values.items():
        table = document
        *parents, name = field_path.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UserError(f"no field '{field_path}' in a recipe")
        try:
            table[name] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            table[name] = text
    return from_document(Recipe, document, "recipe with other values")


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `parse_recipe` reads back; None is left out."""
    top, tables = [], []
    for name, value in dataclasses.asdict(recipe).items():
        if isinstance(value, dict):
            rows = [f"{key} = {_toml(v)}" for key, v in value.items() if v is not None]
            tables.append("\n".join([f"[{name}]", *rows]))
        elif value is not None:
            top.append(f"{name} = {_toml(value)}")
    return "\n\n".join(["\n".join(top), *tables]) + "\n"


def _toml(value: str | float) -> str:
    # TOML's strings and numbers are JSON's, except that it has no surrogate pairs.
    return json.dumps(value, ensure_ascii=False)
