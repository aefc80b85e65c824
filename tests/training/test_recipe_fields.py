"""Each field of a recipe is declared once: its help, its range and its resume rule stand there."""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

import firetree
from firetree.commands import train
from firetree.errors import UserError
from firetree.models.families import ModelRecipe, RecurrentModel
from firetree.tasks import (
    CatchData,
    DataRecipe,
    ImageData,
    LossRecipe,
    MetricRecipe,
    PhonemeData,
    RecallData,
)
from firetree.training import Recipe, check_recipe, known_recipes, load_recipe, recipe_toml
from firetree.training.recipe import OptimRecipe, SparseRecipe, SyncRecipe, field_changes
from firetree.training.recipe_file import parse_recipe

SOURCE = Path(firetree.__file__).parent
PARTS: dict[str, tuple[Any, ...]] = {
    "model": get_args(ModelRecipe),
    "data": get_args(DataRecipe),
    "optim": (OptimRecipe,),
    "sync": (SyncRecipe,),
    "sparse": (SparseRecipe,),
    "loss": (LossRecipe,),
    "metric": (MetricRecipe,),
}
ROOMS = ("training", "tasks", "models", "runs", "sweeps", "memory", "prediction", "bench")
FILES = (
    "commands/train.py",
    "commands/arguments.py",
    "modelfiles/model.py",
    "training/run_model.py",
)
"""Where a list of a recipe's fields could stand; full names, as in `optim.lr`, count everywhere."""
OTHER_MEANINGS = {
    "name": "the tag of each part, and of much else",
    "size": "of an image, in what a task says about its data",
    "classes": "the same",
    "source": "the same, of a language",
    "target": "the same",
    "lr": "torch.optim's name in a group of parameters",
    "momentum": "the same, and a part of a way of `bench`",
    "outer_momentum": "a tensor's name in a checkpoint",
}


def named(path: Path) -> Iterator[str]:
    """The text constants of a module, but short names where no list of fields could stand."""
    place = path.relative_to(SOURCE)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            dotted = node.value.partition(".")[2]
            if dotted or place.parts[0] in ROOMS or str(place) in FILES:
                yield node.value


def test_a_field_is_named_where_it_is_declared_and_in_one_more_module_at_most() -> None:
    modules = [set(named(path)) for path in SOURCE.rglob("*.py")]
    assert sum(bool(names) for names in modules) > 50
    for section, parts in PARTS.items():
        for field in {entry.name for part in parts for entry in fields(part)}:
            if field not in OTHER_MEANINGS:
                its_names = {field, f"{section}.{field}"}
                assert sum(not names.isdisjoint(its_names) for names in modules) <= 1, field


@pytest.mark.parametrize("part", [part for parts in PARTS.values() for part in parts])
def test_every_field_but_the_tag_has_its_help_where_it_is_declared(part: type[Any]) -> None:
    own = {base.__name__: base for base in part.__mro__ if base is not object}
    helped = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in own:
                for line, below in zip(node.body, node.body[1:], strict=False):
                    if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                        helped.add(ast.unparse(line.target))
    assert {entry.name for entry in fields(part)} - {"name"} <= helped


def help_of(*arguments: str) -> str:
    page = io.StringIO()
    with contextlib.redirect_stdout(page), pytest.raises(SystemExit):
        train.run([*arguments, "--help"])
    return page.getvalue()


def test_the_help_of_a_recipe_has_the_options_of_its_data_and_network_alone() -> None:
    page = help_of("catch")
    assert "--data.blank-after INT" in page
    assert "Frames after which the screen is blank. (default: 3)" in page
    assert "--model.hidden" in page
    assert not [flag for flag in ("--data.flip", "--data.path", "--model.freq") if flag in page]
    page = help_of(
        "digits", "--data.name", "cmudict", "--data.crop-padding=0", "--model.name", "seq2seq_delta"
    )
    assert "--data.flip" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "--data.pairs", "4"), "data.pairs = 4; 'digits' does not have this field"),
        (("--data.pairs=4", "digits"), "data.pairs = 4; 'digits' does not have this field"),
        (("catch", "--data.flip"), "data.flip = True; 'catch' does not have this field"),
        (
            ("digits", "--data.name", "digit"),
            "data.name = 'digit' is unknown; did you mean 'digits'?",
        ),
        (("digits", "--model.name", "lstm"), "model.name = 'lstm' is unknown for images"),
        (
            ("digits", "--model.name", "nin", "--model.freq", "2"),
            "model.freq = 2; 'nin' does not have this field, leave it out",
        ),
        (("digits", "--data.pears", "4"), "unknown option '--data.pears'; did you mean"),
        (("catch", "--data.size", "x"), "--data.size is x; expected a whole number"),
        (("catch", "x"), "'x' is one argument too many"),
    ],
)
def test_an_option_of_other_data_or_networks_is_named(
    arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        train.run(list(arguments))
    assert message in str(refusal.value)


LAYER = RecurrentModel("lstm")


@pytest.mark.parametrize(
    ("recipe", "changed", "fixed"),
    [
        (Recipe(), Recipe(seed=1), True),
        (Recipe(), Recipe(keep_checkpoints=9), False),
        (Recipe(), Recipe(optim=OptimRecipe(batch_size=9)), True),
        (Recipe(), Recipe(optim=OptimRecipe(lr=9.0)), False),
        (Recipe(), Recipe(data=ImageData(size=9)), True),
        (Recipe(), Recipe(data=ImageData(path="elsewhere", flip=True, crop_scale=0.5)), False),
        (Recipe(), Recipe(data=RecallData("multi_query_recall")), True),
        (Recipe(model=LAYER), Recipe(model=replace(LAYER, hidden=9)), True),
        (Recipe(data=CatchData("catch")), Recipe(data=CatchData("catch", blank_after=9)), True),
        (Recipe(data=PhonemeData("cmudict")), Recipe(data=PhonemeData("cmudict", "other")), False),
        (Recipe(), Recipe(sync=SyncRecipe("ring")), False),
    ],
)
def test_a_resumed_run_keeps_what_weights_and_steps_depend_on(
    recipe: Recipe, changed: Recipe, fixed: bool
) -> None:
    changes = list(field_changes(recipe, changed))
    assert changes
    assert changes[0].fixed == fixed
    assert len({change.fixed for change in changes}) == 1 or changes[0].path == "data.name"


@pytest.mark.parametrize("name", known_recipes())
def test_a_recipe_kept_when_all_data_had_the_same_fields_is_read(name: str) -> None:
    recipe = load_recipe(name)
    former = {"test_fraction": "0.2", "held_out": '"test"', "flip": "false", "crop_padding": "0"}
    former |= {"crop_ratio": "1.3333", "brightness": "0.0", "contrast": "0.0", "saturation": "0.0"}
    text = recipe_toml(recipe)
    missing = [
        f"{field} = {value}\n" for field, value in former.items() if f"\n{field} = " not in text
    ]
    kept = text.replace("[data]\n", "[data]\n" + "".join(missing))
    assert parse_recipe(kept, "kept") == recipe
    check_recipe(recipe)


def test_no_limit_of_gradients_is_kept() -> None:
    unlimited = Recipe(optim=OptimRecipe(clip_norm=None))
    assert parse_recipe(recipe_toml(unlimited), "kept") == unlimited
