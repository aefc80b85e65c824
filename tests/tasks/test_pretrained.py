"""Training starts from a model's weights: same outputs, a new last layer, layers that stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from firetree import models
from firetree.data import Account
from firetree.data.splits import Splits
from firetree.errors import UserError
from firetree.modelfiles.model import Model, metadata
from firetree.modelfiles.preprocessing import Preprocessing
from firetree.models.families import MobileNetModel, SqueezeNetModel
from firetree.tasks.pretrained import Pretrained, read_pretrained
from firetree.training.optimizers import build_optimizer
from firetree.training.recipe import OptimRecipe, Recipe, check_recipe

SIZE = 32
NAME: Literal["squeezenet_small"] = "squeezenet_small"
CLASSES = ("ant", "bee", "cat")


def network(classes: int = 3, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    return models.build(NAME, classes=classes, channels=3, size=SIZE)


def written(folder: Path, order: str = "BGR", classes: tuple[str, ...] = CLASSES) -> Path:
    """A model's file, with the preprocessing of Caffe."""
    state = network(len(classes), seed=0).state_dict()
    preprocessing = Preprocessing(SIZE, True, SIZE, order, (104.0, 117.0, 123.0), (2.0, 1.0, 1.0))  # type: ignore[arg-type]
    model = Model(NAME, state, preprocessing, {}, classes)
    path = folder / "start.safetensors"
    save_file({name: it.contiguous() for name, it in state.items()}, path, metadata(model))
    return path


def start(folder: Path, freeze: str | None = None, **fields: object) -> Pretrained:
    path = str(written(folder, **fields))  # type: ignore[arg-type]
    found = read_pretrained(SqueezeNetModel(NAME, weights=path, freeze=freeze))
    assert found is not None
    return found


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_images_in_rgb_give_what_the_model_gives(tmp_path: Path, order: str) -> None:
    found, path = start(tmp_path, order=order), tmp_path / "start.safetensors"
    trained = network()
    found.load_into(trained, CLASSES)
    x_BHWC = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    model = Model.load(path, progress=lambda _: None)
    seen_BHWC = x_BHWC[..., ::-1].copy() if order == "BGR" else x_BHWC
    expected = model.build()(model.preprocessing.normalise(seen_BHWC))
    mean, std = torch.tensor(found.mean), torch.tensor(found.std)
    x_BCHW = ((torch.from_numpy(x_BHWC) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(trained.eval()(x_BCHW), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("classes", "is_kept"),
    [(CLASSES, True), (("bee", "cat", "ant"), False), (("a", "b", "c", "d", "e"), False)],
    ids=["the same", "other names", "another number"],
)
def test_the_last_layer_stays_for_the_same_classes_only(
    tmp_path: Path, classes: tuple[str, ...], is_kept: bool
) -> None:
    found, trained = start(tmp_path), network(len(classes))
    first = {name: it.clone() for name, it in trained.state_dict().items()}
    found.load_into(trained, classes)
    for name, tensor in trained.state_dict().items():
        is_head = name.startswith("conv10.")
        expected = found.model.state[name] if is_kept or not is_head else first[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize(
    ("freeze", "is_trained"),
    [
        ("features", lambda name: name.startswith("conv10.")),
        ("conv1, fire2", lambda name: not name.startswith(("conv1.", "fire2."))),
        ("fire*", lambda name: not name.startswith("fire")),
        ("*.bias", lambda name: not name.endswith("bias")),
    ],
)
def test_what_is_frozen_is_not_trained(tmp_path: Path, freeze: str, is_trained) -> None:  # type: ignore[no-untyped-def]
    trained = network(5)
    start(tmp_path, freeze).load_into(trained, tuple("abcde"))
    for name, parameter in trained.named_parameters():
        assert parameter.requires_grad == is_trained(name)
    optimizer = build_optimizer(OptimRecipe(lr=0.1, backbone_lr=0.01), trained)
    in_optimizer = {id(it) for group in optimizer.param_groups for it in group["params"]}
    assert in_optimizer == {id(it) for it in trained.parameters() if it.requires_grad}


def test_the_backbone_has_a_rate_of_its_own() -> None:
    trained = network()
    optimizer = build_optimizer(OptimRecipe(lr=0.1, backbone_lr=0.01), trained)
    factor = {id(it): g["rate_factor"] for g in optimizer.param_groups for it in g["params"]}
    for name, parameter in trained.named_parameters():
        expected = 1.0 if name.startswith("conv10.") else 0.1
        assert factor[id(parameter)] == pytest.approx(expected)


def splits(channels: int = 3) -> Splits:
    account = Account("images", 0, 0, classes=3)
    return Splits(
        None, None, CLASSES, SIZE, channels, (0.5,) * channels, (0.2,) * channels, account
    )  # type: ignore[arg-type]


def test_images_are_normalised_as_the_weights_expect_and_it_is_said(tmp_path: Path) -> None:
    found = start(tmp_path)
    fitted = found.adapt(splits())
    assert fitted.mean == pytest.approx((123 / 255, 117 / 255, 104 / 255))
    assert fitted.std == pytest.approx((1 / 255, 1 / 255, 2 / 255))
    assert fitted.account.remarks == (
        f"training starts from {tmp_path / 'start.safetensors'}; its last layer stays",
    )


def test_published_weights_of_a_network_with_batch_normalisation_start_a_run(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    published = models.build("mobilenet_v3_small", classes=1000, channels=3, size=224)
    torch.save(published.state_dict(), tmp_path / "start.pth")
    recipe = MobileNetModel("mobilenet_v3_small", weights=str(tmp_path / "start.pth"))
    found = read_pretrained(replace(recipe, freeze="features"))
    assert found is not None
    assert (found.size, found.mean) == (224, pytest.approx((0.485, 0.456, 0.406)))
    trained = models.build("mobilenet_v3_small", classes=3, channels=3, size=SIZE)
    found.load_into(trained, CLASSES)
    optimizer = build_optimizer(OptimRecipe(lr=0.1), trained)
    trained(torch.randn(4, 3, SIZE, SIZE)).square().sum().backward()
    optimizer.step()
    before = published.state_dict()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("classifier.3."), name


WRONG = {
    "no file": ({"weights": "nowhere.pth"}, "model.weights: no file nowhere.pth"),
    "another network": ({"name": "squeezenet_v1_1"}, "expected model.name = squeezenet_small"),
    "another shape": ({"base_e": 32}, "give the fields of model"),
    "no such layer": ({"freeze": "fier2"}, "no layer 'fier2'; did you mean 'fire2"),
    "everything": ({"freeze": "*"}, "leaves nothing to train"),
}


def begin(recipe: SqueezeNetModel) -> None:
    found = read_pretrained(recipe)
    assert found is not None
    shaped = {} if recipe.base_e is None else {"base_e": recipe.base_e}
    found.load_into(models.build(NAME, classes=3, channels=3, size=SIZE, **shaped), CLASSES)


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_start_is_told_in_one_line(tmp_path: Path, what: str) -> None:
    changed, message = WRONG[what]
    recipe = replace(SqueezeNetModel(NAME, weights=str(written(tmp_path))), **changed)  # type: ignore[arg-type]
    with pytest.raises(UserError) as refused:
        begin(recipe)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_channels_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.channels = 1; expected 3"):
        start(tmp_path).adapt(splits(1))


def test_rates_and_layers_of_weights_that_are_not_given_are_told() -> None:
    with pytest.raises(UserError, match=r"optim.backbone_lr = 0.1 without model.weights"):
        check_recipe(Recipe(optim=OptimRecipe(backbone_lr=0.1)))
