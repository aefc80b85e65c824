"""Recipes as TOML: ready ones by name, files by path, and single values from the command line."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import tomli_w

from firetree import own_code
from firetree.data import Augmentation
from firetree.documents import from_document, parse_toml, read_text
from firetree.durable import write_durably
from firetree.errors import UserError, nearest
from firetree.training.recipe import Recipe, own_names


def known_recipes() -> tuple[str, ...]:
    """The names of the ready recipes."""
    names = (file.name for file in resources.files("firetree").joinpath("recipes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_recipe(name_or_path: str | PathLike[str], trust: bool = False) -> Recipe:
    """Read a ready recipe by name, or any TOML file by path.

    Args:
        trust: whether code that a file names may be anywhere, and not in a file beside it alone.

    Raises:
        UserError: no such recipe, not TOML, a field or value that a recipe does not have, or code that is
            not trusted.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.suffix == ".toml":
        recipe = read_recipe(path)
        if not trust:
            own_code.check_beside(own_names(recipe), path)
        own_code.look_in(path.parent)
        return recipe
    if name in known_recipes():
        source = resources.files("firetree").joinpath("recipes", f"{name}.toml")
        return parse_recipe(source.read_text(encoding="utf-8"), name)
    raise UserError(f"no recipe '{name}'{nearest(name, known_recipes())}")


def read_recipe(path: Path) -> Recipe:
    """Read a TOML file whose code, if it names any, is not to run (UserError as `load_recipe`)."""
    if not path.is_file():
        raise UserError(f"no recipe file '{path}'; expected a TOML file")
    return parse_recipe(read_text(path, "recipe"), str(path))


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a recipe from TOML text; `source` names it in errors (UserError)."""
    return _recipe(parse_toml(dict[str, Any], text, f"recipe {source}"), f"recipe {source}")


_ONCE_OF_ALL_DATA = {**asdict(Augmentation()), "test_fraction": 0.2, "held_out": "test"}
"""Defaults that the recipes of older versions have for data without these fields, too."""


def _recipe(document: dict[str, Any], source: str) -> Recipe:
    data = document.get("data")
    if isinstance(data, dict):
        former = _ONCE_OF_ALL_DATA
        kept = {name: it for name, it in data.items() if name not in former or it != former[name]}
        document = {**document, "data": kept}
    return from_document(Recipe, document, source)


def write_kept_recipe(path: Path, recipe: Recipe) -> None:
    """Write the recipe of a run, with a checksum as its last line (UserError as `write_durably`)."""
    content = recipe_toml(recipe).encode()
    write_durably(path, content + _CHECKSUM + hashlib.sha256(content).hexdigest().encode() + b"\n")


def read_kept_recipe(path: Path) -> Recipe:
    """Read the recipe of a run, of which no field may be taken from the defaults because it was lost.

    Raises:
        UserError: it cannot be read, differs from its checksum, or has none and lacks a table.
    """
    try:
        return _whole_recipe(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{error}; put it back from a copy") from error


def _whole_recipe(content: bytes, source: str) -> Recipe:
    above, checksum, digest = content.rpartition(_CHECKSUM)
    if checksum and hashlib.sha256(above).hexdigest().encode() != digest.strip():
        raise UserError(f"recipe {source} differs from the checksum in its last line")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {source} is not in UTF-8") from error
    tables = parse_toml(dict[str, Any], text, f"recipe {source}")
    for table in asdict(Recipe()):
        if table not in tables and not checksum:
            raise UserError(f"recipe {source} lacks '{table}'")
    return parse_recipe(text, source)


_CHECKSUM = b"# SHA-256 of what stands above: "


def with_fields(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of fields named as in `optim.lr`.

    A text is read as TOML, as in `0.1` or `true`, but for a field that takes texts.

    Raises:
        UserError: no such field, or not a value for it.
    """
    document = _chosen(recipe)
    for field_path, value in values.items():
        table, part = document, recipe
        *parents, name = field_path.split(".")
        for parent in parents:
            part = getattr(part, parent, part)
            if not is_dataclass(part):
                raise UserError(f"no field '{field_path}' in a recipe")
            table = table.setdefault(parent, {})
        table[name] = _value(field_path, value) if isinstance(value, str) else value
    return _recipe(document, "")


def _chosen(part: Any) -> dict[str, Any]:
    """What differs from the defaults, which other data and networks have otherwise."""
    return {
        entry.name: _chosen(value) if is_dataclass(value) else value
        for entry in fields(part)
        if (value := getattr(part, entry.name)) != entry.default
    }


def _value(field_path: str, text: str) -> Any:
    """What TOML has for the text, where that is a value for the field; else the text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
    kinds: list[Any] = [Recipe]
    for part in field_path.split("."):
        hints = [get_type_hints(kind).get(part) for kind in kinds if is_dataclass(kind)]
        kinds = [kind for hint in hints for kind in _alternatives(hint)]
    return value if isinstance(value, str) or str not in kinds else text


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `parse_recipe` reads back; None is left out where it is the default."""
    return tomli_w.dumps(_table(recipe))


def _table(part: Any) -> dict[str, Any]:
    values = {entry: getattr(part, entry.name) for entry in fields(part)}
    return {
        entry.name: _table(value) if is_dataclass(value) else "None" if value is None else value
        for entry, value in values.items()
        if value is not None or entry.default is not None
    }
