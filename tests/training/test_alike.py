"""Ranks that would not train the same are told apart by the first field that differs, each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from ranks import run_on_ranks

from firetree import Plan
from firetree.errors import UserError
from firetree.peers import agree
from firetree.planning.candidates import Choice
from firetree.tasks import ImageData
from firetree.training import Recipe
from firetree.training.alike import description, load_alike

PLACES = ("data.path", "model.weights")
"""The one field that is about a host; the data's contents are compared in its place."""


def paths(kind: type[Any], prefix: str = "") -> Iterator[str]:
    for field in fields(kind):
        inner = field.default_factory
        if is_dataclass(inner):
            yield from paths(inner, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def other(recipe: Any, path: str) -> Any:
    """The recipe with another value of one field."""
    name, _, rest = path.partition(".")
    return replace(recipe, **{name: other(getattr(recipe, name), rest) if rest else "other"})


def _told(recipes: dict[str, Recipe]) -> dict[str, str | None]:
    told: dict[str, str | None] = {}
    for path, recipe in recipes.items():
        try:
            agree(description(recipe if dist.get_rank() == 1 else Recipe()), "")
            told[path] = None
        except UserError as error:
            told[path] = str(error)
    return told


def test_each_field_of_the_recipe_that_differs_is_named() -> None:
    recipes = {path: other(Recipe(), path) for path in paths(Recipe)}
    assert "optim.lr" in recipes
    told, same = run_on_ranks(2, _told, recipes)
    assert told == same
    assert [told.pop(place) for place in PLACES] == [None, None]
    for path, line in told.items():
        assert line is not None, path
        assert line.startswith(f"{path} is ")
        assert "'other' on rank 1 (host" in line


def images(path: Path, count: int = 20, shade: int = 0, classes: int = 3) -> str:
    x_NHW = np.full((count, 8, 8), shade, np.uint8)
    y_N = np.arange(count) % classes
    np.savez(path, train_x=x_NHW, train_y=y_N, test_x=x_NHW, test_y=y_N)
    return str(path)


def _loaded(arguments: list[tuple[str, int, Plan | None, bool]]) -> str:
    path, batch_size, plan, find_lr = arguments[dist.get_rank()]
    recipe = Recipe(data=ImageData("npz", path))
    recipe = replace(recipe, optim=replace(recipe.optim, batch_size=batch_size))
    try:
        load_alike(recipe, 2, plan, find_lr)
        return "loaded"
    except UserError as error:
        return str(error)


def test_the_same_data_may_lie_elsewhere_on_each_host(tmp_path: Path) -> None:
    ranks = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ranks.append((images(tmp_path / name / "same.npz"), 64, None, False))
    assert run_on_ranks(2, _loaded, ranks) == ["loaded"] * 2


def plan_for_two(algorithm: str) -> Plan:
    return Plan("any", 2, 4, 4, ((4, Choice(algorithm, 2, (0, 1))),), 1.0, 1.0, "latency", ())


@pytest.mark.parametrize(
    ("field", "begin"),
    [
        ("fewer images", "data.training samples is 20 on rank 0 (host "),
        ("other classes", "data.classes[2] is '2' on rank 0 (host "),
        ("no data", "rank 1 (host "),
        ("small batch", "rank 1 (host "),
        ("plan", "plan.choices[0][1].algorithm is 'ring' on rank 0 (host "),
        ("no plan", "plan.from is 'a file' on rank 0 (host "),
        ("find_lr", "find_lr is False on rank 0 (host "),
    ],
)
def test_what_else_differs_is_named_on_every_rank(tmp_path: Path, field: str, begin: str) -> None:
    first = images(tmp_path / "first.npz")
    ring, chain = plan_for_two("ring"), plan_for_two("chain")
    ranks: dict[str, list[tuple[str, int, Plan | None, bool]]] = {
        "fewer images": [
            (first, 64, None, False),
            (images(tmp_path / "fewer.npz", 19), 64, None, False),
        ],
        "other classes": [
            (first, 64, None, False),
            (images(tmp_path / "other.npz", classes=2), 64, None, False),
        ],
        "no data": [(first, 64, None, False), (str(tmp_path / "none.npz"), 64, None, False)],
        "small batch": [(first, 64, None, False), (first, 1, None, False)],
        "plan": [(first, 64, ring, False), (first, 64, chain, False)],
        "no plan": [(first, 64, ring, False), (first, 64, None, False)],
        "find_lr": [(first, 64, None, False), (first, 64, None, True)],
    }
    line, same = run_on_ranks(2, _loaded, ranks[field])
    assert line == same
    assert line.startswith(begin)
