"""What a stranger's run says is checked before a network is made of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from firetree.errors import UserError
from firetree.modelfiles import load_model
from firetree.models.families import MobileNetModel, ModelRecipe, ResNetModel
from firetree.training import Recipe, checkpoint, load_task
from firetree.training.checkpoint import Checkpoint, TrainingState
from firetree.training.recipe_file import write_kept_recipe

RECIPE = Recipe()
TASK = load_task(RECIPE)


def run_of(
    folder: Path, data: dict[str, Any], tensors: dict[str, torch.Tensor], recipe: Recipe = RECIPE
) -> Path:
    """A run's folder, whose checksums are right whatever it says."""
    folder.mkdir()
    write_kept_recipe(folder / "recipe.toml", recipe)
    model = TASK.build(asdict(recipe.model)).state_dict()
    found = Checkpoint(TrainingState(1, {}, {**TASK.about, **data}), {**model, **tensors}, {})
    checkpoint.write(folder / "checkpoints", found, keep=1)
    return folder


def test_a_run_is_a_model(tmp_path: Path) -> None:
    assert load_model(run_of(tmp_path / "run", {}, {})).class_count == 10


@pytest.mark.parametrize(
    "model", [ResNetModel("resnet18"), MobileNetModel("mobilenet_v2", dropout=0.1)]
)
def test_a_run_with_batch_normalisation_of_its_own_is_a_model(
    tmp_path: Path, model: ModelRecipe
) -> None:
    trained = TASK.build(asdict(model))
    trained(torch.randn(8, 1, 8, 8))
    folder = run_of(tmp_path / "run", {}, trained.state_dict(), Recipe(model=model))
    x_BCHW = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(load_model(folder).build()(x_BCHW), trained.eval()(x_BCHW))


@pytest.mark.parametrize(
    ("data", "tensors", "fault"),
    [
        ({"size": "8"}, {}, "data: size = '8'; expected int"),
        ({"classes": 10}, {}, "data: classes = 10; expected a list"),
        ({"classes": [1]}, {}, r"data: classes\[0\] = 1; expected str"),
        ({"mean": [None]}, {}, r"data: mean\[0\] = None; expected float"),
        ({"channels": 0}, {}, "10 classes and 0 channels; expected"),
        ({"channels": 3}, {}, "weights of squeezenet_small"),
        ({"size": 10**9}, {}, "resize = 1000000000; expected crop to 4096"),
        ({"classes": []}, {}, "0 classes and 1 channels; expected"),
        ({}, {"conv1.weight": torch.zeros(1)}, "for conv1.weight; expected"),
        ({}, {"a.norm.weight": torch.zeros(1)}, "no weights of squeezenet_small: 'a.norm.bias'"),
    ],
)
def test_what_makes_no_network_is_refused(
    tmp_path: Path, data: dict[str, Any], tensors: dict[str, torch.Tensor], fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        load_model(run_of(tmp_path / "run", data, tensors))
