"""The networks of FireCaffe's paper: parameters, small forms, and GoogLeNet's two modes."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firetree import models
from firetree.errors import UserError
from firetree.models import Outputs
from firetree.models.classic import local_response_norm
from firetree.models.families import ConvolutionsModel, names

NAMES = names(ConvolutionsModel)


def described(name: str, size: int = 224, classes: int = 1000) -> nn.Module:
    """The network with shapes alone: VGG-19 takes no memory."""
    with torch.device("meta"):
        return models.build(name, classes=classes, channels=3, size=size)


def small(name: str, size: int, **overrides: float) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, classes=10, channels=3, size=size, **overrides)


@pytest.mark.parametrize(
    ("name", "parameters", "megabytes"),
    [
        ("alexnet", 62_378_344, 249),
        ("alexnet_grouped", 60_965_224, 244),
        ("googlenet", 13_378_280, 54),
        ("nin", 7_595_176, 30),
        ("vgg16", 138_357_544, 553),
        ("vgg19", 143_667_240, 575),
    ],
)
def test_weights_are_as_many_as_in_the_papers(name: str, parameters: int, megabytes: int) -> None:
    network = described(name, size=224 if name.startswith("vgg") else 227)
    assert models.parameter_count(network) == parameters
    # FireCaffe cuts AlexNet's 249.5 MB to 249.
    assert parameters * 4 / 1e6 == pytest.approx(megabytes, abs=0.55)


def test_googlenet_has_28_mb_outside_its_auxiliary_classifiers() -> None:
    network = described("googlenet")
    auxiliary = models.parameter_count(network.get_submodule("heads"))
    kept = models.parameter_count(network) - auxiliary
    assert kept == 6_998_552
    assert round(kept * 4 / 1e6) == 28


@pytest.mark.parametrize("name", NAMES)
def test_a_published_network_gives_a_logit_for_each_class(name: str) -> None:
    network = described(name).eval()
    assert network(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [8, 28, 47, 48, 99, 100, 300])
def test_any_size_of_images_gives_logits(name: str, size: int) -> None:
    network = described(name, size, classes=7)
    x_BCHW = torch.empty(2, 3, size, size, device="meta")
    assert network.eval()(x_BCHW).shape == (2, 7)
    training = network.train()(x_BCHW)
    all_logits = [training.logits_BK, *training.auxiliary] if name == "googlenet" else [training]
    assert [logits.shape for logits in all_logits] == [(2, 7)] * len(all_logits)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [28, 32, 64])
def test_a_step_on_small_images_reaches_every_parameter(name: str, size: int) -> None:
    network = small(name, size)
    loss = models.summed_loss(network(torch.randn(4, 3, size, size)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_gives_zero_gradients(name: str) -> None:
    network = small(name, 8)
    models.total(network(torch.zeros(0, 3, 8, 8))).backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_small_images_get_an_unstrided_stem_and_few_weights(name: str) -> None:
    network = described(name, 32, classes=10)
    stem = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert stem.stride == (1, 1)
    assert models.parameter_count(network) < models.parameter_count(described(name)) / 3


@pytest.mark.parametrize("name", NAMES)
def test_small_forms_have_as_many_layers_as_published_ones(name: str) -> None:
    def kinds(size: int) -> list[type[nn.Module]]:
        layers = described(name, size).modules()
        return [type(layer) for layer in layers if list(layer.parameters(recurse=False))]

    assert kinds(28) == kinds(224)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_loss_is_that_of_a_guess(name: str) -> None:
    network = small(name, 28).eval()
    with torch.no_grad():
        loss = F.cross_entropy(network(torch.randn(8, 3, 28, 28)), torch.arange(8))
    assert float(loss) == pytest.approx(torch.tensor(10.0).log().item(), rel=0.1)


@pytest.mark.parametrize("name", ["googlenet", "nin"])
def test_the_loss_halves_within_50_steps_on_32_images(name: str) -> None:
    network = small(name, 8, dropout=0.0)
    # Blocks of colour: white noise is gone after the average over all cells.
    x_BCHW = F.interpolate(torch.randn(32, 3, 4, 4), size=8)
    y_B = torch.arange(32) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    losses: list[float] = []
    while len(losses) < 50 and (not losses or losses[-1] > losses[0] / 2):
        optimizer.zero_grad()
        loss = models.summed_loss(network(x_BCHW), y_B) / 32
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] <= losses[0] / 2


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_set_of_weights(name: str) -> None:
    first, again = small(name, 28).state_dict(), small(name, 28).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_without_dropout_training_gives_the_logits_of_evaluation(name: str) -> None:
    network = small(name, 28, dropout=0.0)
    x_BCHW = torch.randn(2, 3, 28, 28)
    training, evaluation = network.train()(x_BCHW), network.eval()(x_BCHW)
    logits_BK = training.logits_BK if name == "googlenet" else training
    torch.testing.assert_close(logits_BK, evaluation)


def test_grouped_convolutions_see_half_of_the_channels() -> None:
    grouped, whole = described("alexnet_grouped"), described("alexnet")
    halved = [
        k
        for k in range(1, 6)
        if grouped.get_parameter(f"conv{k}.weight").shape[1] * 2
        == whole.get_parameter(f"conv{k}.weight").shape[1]
    ]
    assert halved == [2, 4, 5]


def test_googlenet_gives_auxiliary_logits_in_training_alone() -> None:
    network = small("googlenet", 28)
    x_BCHW = torch.randn(2, 3, 28, 28)
    outputs = network(x_BCHW)
    assert isinstance(outputs, Outputs)
    assert len(outputs.auxiliary) == 2
    assert isinstance(network.eval()(x_BCHW), torch.Tensor)


def test_auxiliary_losses_weigh_three_tenths() -> None:
    logits_BK, first, second = torch.randn(3, 4, 10).unbind()
    y_B = torch.tensor([1, 2, 3, 4])

    def loss(one: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(one, y_B, reduction="sum")

    torch.testing.assert_close(
        models.summed_loss(Outputs(logits_BK, (first, second)), y_B),
        loss(logits_BK) + 0.3 * loss(first) + 0.3 * loss(second),
    )
    torch.testing.assert_close(models.summed_loss(logits_BK, y_B), loss(logits_BK))


def test_normalisation_is_caffes() -> None:
    x_BCHW = torch.randn(2, 12, 3, 3) * 100
    torch.testing.assert_close(
        local_response_norm(x_BCHW), F.local_response_norm(x_BCHW, 5, alpha=1e-4, beta=0.75, k=1.0)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "field", ["base_e", "incr_e", "freq", "pct_3x3", "squeeze_ratio", "bypass"]
)
def test_fields_of_squeezenet_are_refused_in_one_line(name: str, field: str) -> None:
    message = f"model.{field} = 1; '{name}' does not have this field, leave it out"
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        models.build(name, classes=10, channels=3, size=28, **{field: 1})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_common_to_all_networks(name: str) -> None:
    assert small(name, 28, dropout=0.25)
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match=re.escape(f"dropout = {wrong}; expected 0 or more")):
            small(name, 28, dropout=wrong)
