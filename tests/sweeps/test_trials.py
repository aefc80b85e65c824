"""Sweeps: which combinations there are, and that a result once known is not made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from firetree.commands.sweep import parse_vary
from firetree.commands.text.sweep import as_text
from firetree.errors import ArgumentError, RunFailedError, UserError
from firetree.sweeps import Combination, SweepTrial, TrialResult, grid, sweep, train_all
from firetree.sweeps.combinations import _with_best
from firetree.training import load_recipe, recipe_toml, with_fields

QUICK = {"optim.epochs": "1", "optim.batch_size": "512"}


def trial(name: str, **values: str) -> SweepTrial:
    fields = QUICK | {key.replace("__", "."): value for key, value in values.items()}
    return SweepTrial(name, fields, with_fields(load_recipe("digits"), fields))


def test_a_grid_has_every_combination_in_order() -> None:
    found = [*grid(parse_vary(["model.bypass=none,simple", "optim.lr=0.1", "seed=0,1"]))]
    assert [tuple(values.values()) for values in found] == [
        ("none", "0.1", "0"),
        ("none", "0.1", "1"),
        ("simple", "0.1", "0"),
        ("simple", "0.1", "1"),
    ]
    assert [*grid({})] == [{}]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["optim.lr"], "--vary optim.lr; expected a field and values"),
        (["optim.lr=0.1,"], "expected a field and values"),
        (["=1"], "expected a field and values"),
        (["seed=0", "seed=1"], "--vary seed twice"),
    ],
)
def test_what_is_no_grid_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_vary(texts)


@pytest.mark.parametrize("values", [[], "0.1", 0.1])
def test_values_that_are_no_list_are_refused(values: Any) -> None:
    with pytest.raises(ArgumentError, match=r"vary has optim\.lr = .*; expected a list of values"):
        sweep("digits", {"optim.lr": values})


@pytest.mark.parametrize(
    "values",
    [
        {"model.bypass": "complex", "optim.lr": "1", "optim.nesterov": "true", "data.path": "2024"},
        {"model.bypass": "complex", "optim.lr": 1, "optim.nesterov": True, "data.path": "2024"},
    ],
)
def test_fields_take_values_and_their_toml(values: Mapping[str, Any]) -> None:
    recipe = with_fields(load_recipe("digits"), values)
    assert (recipe.model.bypass, recipe.optim.lr) == ("complex", 1.0)
    assert (recipe.optim.nesterov, recipe.data.path) == (True, "2024")
    assert recipe.optim.epochs == load_recipe("digits").optim.epochs


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("optim.rate", "1", "no field 'optim.rate'"),
        ("optim.lr", "fast", "optim.lr = 'fast'; expected float"),
        ("seed.lr", "1", "no field 'seed.lr'"),
        ("model.bypass", "some", "model.bypass = 'some'; expected 'none'"),
    ],
)
def test_a_field_that_there_is_not_is_refused(field: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_fields(load_recipe("digits"), {field: text})


def test_trials_are_trained_once_and_a_loss_of_nan_is_a_result(tmp_path: Path) -> None:
    said: list[str] = []
    trials = [trial("good"), trial("wild", optim__lr="1e30", optim__warmup_epochs="0")]
    found = train_all(trials, tmp_path, 2, said.append)
    assert found[0].accuracy is not None
    assert found[0].accuracy > 0.05
    assert found[1] == TrialResult(trials[1], None)
    assert len(said) == 2
    assert train_all(trials, tmp_path, 2, said.append) == found
    assert len(said) == 2


def write_trial(folder: Path, found: SweepTrial, accuracy: float | None) -> None:
    """What a trial leaves, its result too if it has ended."""
    (folder / found.name).mkdir()
    (folder / f"{found.name}.toml").write_text(recipe_toml(found.recipe))
    if accuracy is not None:
        (folder / f"{found.name}.json").write_text(json.dumps({"accuracy": accuracy}))


@pytest.mark.parametrize("accuracy", [0.5, None])
@pytest.mark.parametrize("file", ["toml", "nothing"])
def test_what_another_recipe_left_under_the_name_is_refused(
    tmp_path: Path, accuracy: float | None, file: str
) -> None:
    write_trial(tmp_path, trial("same"), accuracy)
    if file == "nothing":
        (tmp_path / "same.toml").unlink()
    other = trial("same", optim__epochs="2")
    with pytest.raises(UserError, match="has a trial same of another recipe; give another folder"):
        train_all([trial("new"), other], tmp_path, 1, print)
    assert not (tmp_path / "new.toml").exists()


def test_a_result_from_before_a_field_was_added_is_trusted(tmp_path: Path) -> None:
    write_trial(tmp_path, trial("old"), 0.5)
    path = tmp_path / "old.toml"
    path.write_text(path.read_text().replace("crop_ratio = 1.3333\n", ""))
    assert train_all([trial("old")], tmp_path, 1, print) == [TrialResult(trial("old"), 0.5)]


def test_seeds_are_not_varied_by_hand(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vary has 'seed'; give the number of seeds instead"):
        sweep("digits", {"optim.lr": [0.1], "seed": [1, 2, 3]}, runs=tmp_path / "runs")


def test_a_failed_trial_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"trial lost failed; see the end of .*lost\.log"):
        train_all([trial("lost", data__name="npz", data__path="nowhere")], tmp_path, 1, print)


def row(parameters: int, accuracy: float, rate: str = "0.1") -> Combination:
    values = {"optim.lr": rate, "seed": "0"}
    return Combination(values, parameters, 4 * parameters, 1e6, 0.01, (accuracy,), accuracy, False)


def test_a_net_is_best_for_its_size_where_no_smaller_one_is_as_good() -> None:
    rows = [row(300, 0.8), row(100, 0.7), row(200, 0.6), row(400, 0.8), row(100, 0.5)]
    assert [(it.parameters, it.accuracy, it.best) for it in _with_best(rows)] == [
        (100, 0.7, True),
        (100, 0.5, False),
        (200, 0.6, False),
        (300, 0.8, True),
        (400, 0.8, False),
    ]


def test_a_table_leaves_out_fields_that_are_the_same_everywhere() -> None:
    head, first, _ = as_text([row(1000, 0.5), row(1000, 0.6, "0.2")]).splitlines()
    assert head.split()[:2] == ["lr", "parameters"]
    assert first.split()[:3] == ["0.1", "1,000", "0.00"]
