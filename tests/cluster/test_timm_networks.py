"""Networks of timm by name: built for the data, trained, planned and inspected, where timm can be imported."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from command import firetree, last_weights
from safetensors.torch import load

from firetree import models
from firetree.errors import UserError
from firetree.models.families import OwnModel
from firetree.tasks import ImageData, load_images
from firetree.training import Recipe, with_fields
from firetree.training.own_network import build_network
from firetree.training.recipe import check_recipe, own_names

NAME = "timm:mobilenetv3_small_050"


@pytest.fixture(scope="module", autouse=True)
def timm() -> None:
    try:
        import timm  # noqa: F401
    except Exception as error:
        pytest.skip(f"timm cannot be imported: {error}")


def test_a_network_is_built_for_the_data() -> None:
    network = models.build(NAME, classes=7, channels=1, size=64, arguments={"drop_rate": 0.1})
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("timm:resnet81", {}, "timm has no network 'resnet81'; did you mean 'resnet"),
        (NAME, {"pretrained": True}, "model.arguments.pretrained = True; timm is told"),
        (NAME, {"widht": 2}, f"{NAME} failed: TypeError"),
    ],
)
def test_what_timm_does_not_have_is_told(name: str, arguments: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        models.build(name, classes=7, channels=1, size=64, arguments=arguments)
    assert "\n" not in str(refusal.value)


def test_it_is_for_images_and_needs_no_trust() -> None:
    recipe = with_fields(Recipe(), {"model.name": NAME})
    check_recipe(recipe)
    assert own_names(recipe) == {}
    with pytest.raises(UserError, match="is unknown for texts"):
        check_recipe(with_fields(recipe, {"data.name": "cmudict"}))


def test_two_workers_train_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    asked = ("train", "digits", "--model.name", NAME, "--optim.steps", 2, "--run-dir", run_dir)
    code, _, err = firetree(*asked, ranks=2)
    assert (code, err) == (0, "")
    weights = load(last_weights(run_dir))
    assert weights["classifier.weight"].shape[0] == 10
    assert all(tensor.isfinite().all() for tensor in weights.values())
    code, _, err = firetree("predict", run_dir, "nothing")
    assert code == 2
    assert f"is a run of {NAME}; expected one of" in err


@pytest.mark.parametrize(("name", "takes"), [("resnet18", True), ("vit_tiny_patch16_224", False)])
def test_test_images_have_another_size_where_the_network_takes_it(name: str, takes: bool) -> None:
    task = load_images(ImageData(size=224, test_size=96), seed=0)
    recipe = OwnModel(f"timm:{name}")
    with nullcontext() if takes else pytest.raises(UserError, match=r"data\.test_size = 96, which"):
        assert build_network(recipe, task).training


def test_plan_and_inspect_know_it() -> None:
    code, out, err = firetree("inspect", NAME, "--json")
    assert (code, err) == (0, "")
    network = models.build(NAME, classes=1000, channels=3, size=224)
    assert json.loads(out)["parameters"] == models.parameter_count(network)
    hosts = ("--network", "2 x 1gbit", "--compute", "0.1s", "--json")
    code, out, _ = firetree("plan", "--model", NAME, *hosts)
    assert code == 0
    assert json.loads(out)["model"] == NAME
