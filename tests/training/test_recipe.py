"""A recipe is read from TOML, checked, and written back; what is wrong is named in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firetree.documents import Expect
from firetree.errors import UserError
from firetree.fields import OwnName
from firetree.training import Recipe, check_recipe, known_recipes, load_recipe, with_fields
from firetree.training.recipe import (
    ImageData,
    OptimRecipe,
    SparseRecipe,
    SyncRecipe,
)
from firetree.training.recipe_file import parse_recipe, recipe_toml


@pytest.mark.parametrize("name", known_recipes())
def test_every_ready_recipe_is_valid(name: str) -> None:
    check_recipe(load_recipe(name))


def values(hint: Any) -> st.SearchStrategy[Any]:
    """All that a field of this type may hold."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == OwnName:
        return st.tuples(PLAIN[str], PLAIN[str]).map(":".join)
    if origin is Annotated:
        found = values(hint.__origin__)
        for note in hint.__metadata__:
            found = found.filter(note.fits) if isinstance(note, Expect) else found
        return found
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of(map(values, arguments))
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return st.builds(hint, **{name: values(one) for name, one in hints.items()})
    if origin is Mapping:
        return st.dictionaries(PLAIN[str], plain, max_size=2)
    return PLAIN[hint]


PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(1, 8) | st.integers(0, 2**40),
    float: st.floats(0.01, 0.99) | st.floats(0, 1e6),
    str: st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    bool: st.booleans(),
    NoneType: st.none(),
}
plain = st.one_of(PLAIN[int], PLAIN[float], PLAIN[str], st.lists(PLAIN[str], max_size=2))


@given(values(Recipe))
@example(Recipe(data=ImageData(path="a\x7fb")))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_recipe_of_any_kind_written_as_toml_reads_back_the_same(recipe: Recipe) -> None:
    assert parse_recipe(recipe_toml(recipe), "written") == recipe
    assert with_fields(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optim]\nlearning_rate = 1", "no field 'optim.learning_rate'"),
        ("[optim]\nmomentun = 0.9", "did you mean 'optim.momentum'?"),
        ("[optin]\nlr = 0.9", "no field 'optin'; did you mean 'optim'?"),
        ("optim = 3", "mine.toml: optim = 3; expected a table"),
        ("[optim]\nlr = 'fast'", "optim.lr = 'fast'; expected float"),
        ("[optim]\nsteps = 1.5", "optim.steps = 1.5; expected int"),
        ("[optim]\nbatch_size = true", "optim.batch_size = True; expected int"),
        ("[optim]\nrule = 'cosinus'", "expected 'polynomial', 'cosine', 'step', 'constant'"),
        ("lr = = 3", "is not TOML"),
    ],
)
def test_a_wrong_line_of_a_file_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_recipe(text, "mine.toml")
    assert message in str(refusal.value)
    assert "mine.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("optim", "lr", 0.0, "optim.lr = 0.0; expected a number above 0"),
        ("optim", "lr", float("nan"), "optim.lr = nan"),
        ("optim", "momentum", 1.0, "optim.momentum = 1.0; expected 0 or more and below 1"),
        ("optim", "batch_size", 0, "optim.batch_size = 0; expected 1 or more"),
        ("optim", "target_accuracy", 97.0, "optim.target_accuracy = 97.0; expected above 0"),
        ("data", "channels", 2, "data.channels = 2; expected 1 or 3"),
        ("data", "name", "digit", "data.name = 'digit' is unknown; did you mean 'digits'?"),
        ("model", "name", "squeezenet", "model.name = 'squeezenet' is unknown for images; did"),
        ("sync", "algorithm", "tree", "no algorithm 'tree'"),
        (
            "sync",
            "timeout_s",
            1e7,
            "sync.timeout_s = 10000000.0; expected above 0 and below 1000000",
        ),
    ],
)
def test_a_value_that_no_run_can_have_is_named(
    section: str, field: str, value: object, message: str
) -> None:
    recipe = Recipe()
    changed = dataclasses.replace(getattr(recipe, section), **{field: value})
    with pytest.raises(UserError) as refusal:
        check_recipe(dataclasses.replace(recipe, **{section: changed}))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("optim", "fits"),
    [
        (OptimRecipe(), False),
        (OptimRecipe(batch_rule="lars", optimizer="adam"), False),
        (OptimRecipe(momentum=0.0), True),
        (OptimRecipe(optimizer="signsgd"), True),
        (OptimRecipe(batch_rule="lamb"), True),
    ],
)
def test_demo_takes_an_optimiser_without_momentum(optim: OptimRecipe, fits: bool) -> None:
    recipe = Recipe(optim=optim, sync=SyncRecipe(compression="demo"))
    if fits:
        check_recipe(recipe)
    else:
        with pytest.raises(
            UserError, match=r"optim\.momentum = 0\.9; expected optim\.momentum = 0"
        ):
            check_recipe(recipe)


@pytest.mark.parametrize(
    ("local", "named"),
    [({"local_steps": 4}, r"sync\.local_steps = 4"), ({"step_ahead": True}, r"sync\.step_ahead")],
)
def test_local_steps_go_with_neither_sparse_training_nor_compression_by_layer(
    local: dict[str, Any], named: str
) -> None:
    for sync, sparse in (
        (SyncRecipe(compression="powersgd:2", **local), SparseRecipe()),
        (SyncRecipe(compression="demo", **local), SparseRecipe()),
        (SyncRecipe(**local), SparseRecipe(density=0.5)),
    ):
        with pytest.raises(UserError, match=f"and .*{named}; expected one of them"):
            check_recipe(Recipe(sync=sync, sparse=sparse))


@pytest.mark.parametrize(
    ("sync", "message"),
    [
        (
            SyncRecipe(fragments=4),
            "sync.fragments = 4 and sync.local_steps = 1; expected a local step for each fragment",
        ),
        (
            SyncRecipe(local_steps=16, fragments=4, overlap_steps=4),
            "sync.overlap_steps = 4; expected at most 3, as the next of 4 fragments in 16 local steps "
            "follows then",
        ),
        (
            SyncRecipe(local_steps=16, overlap_steps=4, step_ahead=True),
            "sync.step_ahead and sync.overlap_steps; expected one of them",
        ),
        (
            SyncRecipe(local_steps=16, fragments=4),
            "optim.ema = 0.9 and sync.fragments = 4; expected one of them, as workers seldom have the same "
            "weights",
        ),
    ],
)
def test_fragments_that_cannot_be_averaged_one_by_one_are_refused(
    sync: SyncRecipe, message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_recipe(Recipe(sync=sync, optim=OptimRecipe(ema=0.9)))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("recipe", "other"),
    [
        (Recipe(sync=SyncRecipe(shares="speed", local_steps=4)), "sync.local_steps = 4"),
        (Recipe(sync=SyncRecipe(shares="speed", step_ahead=True)), "sync.step_ahead"),
        (Recipe(sync=SyncRecipe(shares="speed"), compile=True), "compile"),
    ],
)
def test_shares_by_speed_go_neither_with_local_steps_nor_compiled(
    recipe: Recipe, other: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_recipe(recipe)
    assert str(refusal.value) == f"sync.shares = speed and {other}; expected one of them"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data.mixup": 0.2, "loss.name": "mse"},
            "data.mixup = 0.2 and loss.name = mse; expected one",
        ),
        ({"data.cutmix": 1.0, "loss.name": "mine:loss"}, ""),
        ({"data.mixup": 0.2, "loss.name": "cross_entropy"}, ""),
    ],
)
def test_blended_images_go_with_losses_of_shares(fields: dict[str, Any], message: str) -> None:
    recipe = with_fields(Recipe(), fields)
    if not message:
        check_recipe(recipe)
        return
    with pytest.raises(UserError, match=message):
        check_recipe(recipe)


def test_a_language_model_has_no_accuracy_to_reach() -> None:
    recipe = with_fields(load_recipe("gpt"), {"optim.target_accuracy": 0.5})
    with pytest.raises(
        UserError, match=r"a language model has no accuracy, expected optim\.patience"
    ):
        check_recipe(recipe)


def test_an_unknown_recipe_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="no recipe 'digit'; did you mean 'digits'"):
        load_recipe("digit")


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("# für Ziffern\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"mine\.toml is not in UTF-8; save it as UTF-8$"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("sync", "other"),
    [
        (SyncRecipe(max_loss=0.5, local_steps=4), "sync.local_steps = 4"),
        (SyncRecipe(max_loss=0.5, step_ahead=True), "sync.step_ahead"),
        (SyncRecipe(max_loss=0.5, compression="int8"), "sync.compression = int8"),
    ],
)
def test_a_run_that_is_to_choose_a_compression_is_given_none(sync: SyncRecipe, other: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_recipe(Recipe(sync=sync))
    assert str(refusal.value) == f"sync.max_loss and {other}; expected one of them"
