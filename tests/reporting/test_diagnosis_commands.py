"""A report's command is one that the command line takes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from firetree.commands.arguments import parse
from firetree.commands.run import RunOptions, script_at
from firetree.commands.train import TrainOptions
from firetree.reporting.again import command_of


@pytest.mark.parametrize("sync", ["auto", "int8"])
def test_a_script_is_run_again_with_its_arguments(sync: str, tmp_path: Path) -> None:
    told = {"command": ["my train.py", "--lr", "0.1"]}
    (tmp_path / "script.json").write_text(json.dumps(told))
    firetree, verb, *arguments = shlex.split(command_of(tmp_path, "my train.py")(sync))
    assert (firetree, verb) == ("firetree", "run")
    at = script_at(arguments)
    assert arguments[at:] == ["my train.py", "--lr", "0.1"]
    options = parse(RunOptions, "firetree run", arguments[:at])
    assert sync in (options.sync, options.compression)


@pytest.mark.parametrize(
    ("sync", "option"), [("auto", ["--plan", "auto"]), ("int8", ["--sync.compression", "int8"])]
)
def test_a_recipe_is_trained_again_from_its_folder(
    sync: str, option: list[str], tmp_path: Path
) -> None:
    firetree, verb, recipe, *rest = shlex.split(command_of(tmp_path, "")(sync))
    assert (firetree, verb, rest) == ("firetree", "train", option)
    assert recipe == str(tmp_path / "recipe.toml")
    options = parse(TrainOptions, "firetree train", ["digits", *rest])
    assert sync in (options.plan, options.recipe.sync.compression)
