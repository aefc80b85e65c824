"""ResNets and MobileNets: torchvision's names and shapes, the papers' work, small images, empty batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firetree import models
from firetree.models.cost import cost
from firetree.models.families import NORMALISED

Shapes = dict[str, tuple[int, ...]]

TORCHVISIONS: dict[str, tuple[int, int, float, Shapes]] = {
    "resnet18": (
        11_689_512,
        122,
        1.81,
        {
            "conv1.weight": (64, 3, 7, 7),
            "bn1.num_batches_tracked": (),
            "layer1.1.conv2.weight": (64, 64, 3, 3),
            "layer2.0.downsample.0.weight": (128, 64, 1, 1),
            "layer4.1.bn2.running_var": (512,),
            "fc.weight": (1000, 512),
        },
    ),
    "resnet34": (
        21_797_672,
        218,
        3.66,
        {"layer3.5.conv2.weight": (256, 256, 3, 3), "layer4.0.downsample.1.bias": (512,)},
    ),
    "resnet50": (
        25_557_032,
        320,
        4.09,
        {
            "layer1.0.conv1.weight": (64, 64, 1, 1),
            "layer1.0.downsample.1.weight": (256,),
            "layer3.5.bn3.running_mean": (1024,),
            "layer4.0.conv2.weight": (512, 512, 3, 3),
            "fc.weight": (1000, 2048),
        },
    ),
    "mobilenet_v2": (
        3_504_872,
        314,
        0.30,
        {
            "features.0.0.weight": (32, 3, 3, 3),
            "features.1.conv.0.0.weight": (32, 1, 3, 3),
            "features.1.conv.2.weight": (16,),
            "features.2.conv.0.0.weight": (96, 16, 1, 1),
            "features.2.conv.1.0.weight": (96, 1, 3, 3),
            "features.2.conv.3.running_mean": (24,),
            "features.17.conv.2.weight": (320, 960, 1, 1),
            "features.18.1.bias": (1280,),
            "classifier.1.weight": (1000, 1280),
        },
    ),
    "mobilenet_v3_small": (
        2_542_856,
        244,
        0.06,
        {
            "features.0.0.weight": (16, 3, 3, 3),
            "features.1.block.0.0.weight": (16, 1, 3, 3),
            "features.1.block.1.fc1.weight": (8, 16, 1, 1),
            "features.1.block.2.1.weight": (16,),
            "features.3.block.1.0.weight": (88, 1, 3, 3),
            "features.4.block.2.fc1.bias": (24,),
            "features.4.block.3.0.weight": (40, 96, 1, 1),
            "features.7.block.2.fc1.bias": (32,),
            "features.12.0.weight": (576, 96, 1, 1),
            "classifier.0.weight": (1024, 576),
            "classifier.3.bias": (1000,),
        },
    ),
}
"""Parameters, tensors, billions of multiply-adds for 224 pixels, and some tensors' shapes."""


def described(name: str, size: int = 224, classes: int = 1000) -> nn.Module:
    """With shapes alone."""
    with torch.device("meta"):
        return models.build(name, classes=classes, channels=3, size=size)


def small(name: str, size: int = 32, **fields: float) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, classes=10, channels=3, size=size, **fields)


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_tensors_have_torchvisions_names_and_shapes(name: str) -> None:
    parameters, tensors, _, shapes = TORCHVISIONS[name]
    network = described(name)
    assert models.parameter_count(network) == parameters
    state = network.state_dict()
    assert len(state) == tensors
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_an_image_takes_the_papers_work(name: str) -> None:
    found = cost(described(name), torch.empty(2, 3, 224, 224, device="meta"))
    assert found.flops / 2e9 == pytest.approx(TORCHVISIONS[name][2], abs=0.01)


def test_a_bottlenecks_stride_is_in_its_3x3_convolution() -> None:
    network = described("resnet50")
    strides = [network.get_submodule(f"layer2.0.conv{k}").stride for k in (1, 2, 3)]
    assert strides == [(1, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("size", [8, 33, 65])
def test_any_size_of_images_gives_logits(name: str, size: int) -> None:
    network = described(name, size, classes=7)
    assert network(torch.empty(2, 3, size, size, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize(("size", "cells"), [(32, 4), (64, 8), (96, 3)])
def test_small_images_end_in_more_cells(name: str, size: int, cells: int) -> None:
    network = described(name, size)
    sides: list[int] = []
    last = network.get_submodule("layer4" if name.startswith("resnet") else "features")
    last.register_forward_hook(lambda _, __, given: sides.append(given.shape[-1]))
    network(torch.empty(2, 3, size, size, device="meta"))
    assert sides == [cells]


@pytest.mark.parametrize("name", NORMALISED)
def test_a_step_reaches_every_parameter(name: str) -> None:
    network = small(name)
    loss = models.summed_loss(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize(("count", "size"), [(0, 32), (1, 8)])
def test_a_batch_too_small_for_statistics_has_gradients(name: str, count: int, size: int) -> None:
    network = small(name, size)
    models.total(network(torch.randn(count, 3, size, size))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(value.isfinite().all() for value in network.state_dict().values())


@pytest.mark.parametrize("name", NORMALISED)
def test_the_first_loss_is_that_of_a_guess(name: str) -> None:
    network = small(name)
    loss = models.summed_loss(network(torch.randn(8, 3, 32, 32)), torch.arange(8)) / 8
    assert float(loss.detach()) == pytest.approx(torch.tensor(10.0).log().item(), rel=0.2)


def test_one_form_goes_through_all_its_sizes() -> None:
    for name, one, other, is_one in [
        ("resnet18", 32, 64, True),
        ("resnet18", 64, 65, False),
        ("mobilenet_v2", 65, 320, True),
        ("squeezenet_small", 32, 48, False),
        ("alexnet", 128, 227, True),
        ("resnet18", 32, 4, False),
        ("convnet", 28, 32, False),
    ]:
        assert models.is_of_one_form(name, one, other) == is_one, (name, one, other)
