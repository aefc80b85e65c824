"""Batch normalisation is PyTorch's, takes any number of samples, and folds into the convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firetree import models
from firetree.models.batch_norm import BatchNorm2d, NormedConv2d, folded


def test_a_normed_convolution_is_a_convolution_and_pytorchs_own_normalisation() -> None:
    torch.manual_seed(0)
    ours = NormedConv2d(3, 5, 3, padding=1)
    theirs = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5))
    theirs[0].load_state_dict({name: ours.state_dict()[name] for name in ("weight", "bias")})
    for _ in range(2):
        x_BCHW = torch.randn(4, 3, 6, 6)
        torch.testing.assert_close(ours(x_BCHW), theirs(x_BCHW))
    torch.testing.assert_close(ours.norm.running_var, theirs[1].running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x_BCHW), theirs(x_BCHW))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_numbers_for_statistics_leave_them_alone(count: int) -> None:
    layer = NormedConv2d(3, 5, 1)
    before = {name: value.clone() for name, value in layer.norm.state_dict().items()}
    layer(torch.randn(count, 3, 1, 1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    for name, value in layer.norm.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_frozen_layer_leaves_its_statistics_alone() -> None:
    torch.manual_seed(0)
    norm = BatchNorm2d(5).requires_grad_(False)
    norm.running_mean += 1
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x_BCHW = torch.randn(4, 5, 3, 3)
    torch.testing.assert_close(norm.train()(x_BCHW), norm.eval()(x_BCHW))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("bypass", ["none", "simple", "complex"])
def test_a_folded_network_answers_as_the_trained_one(bypass: str) -> None:
    torch.manual_seed(0)
    shape = {"classes": 4, "channels": 3, "size": 16, "bypass": bypass, "base_e": 16}
    trained = models.build("squeezenet_small", batch_norm=True, **shape)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        trained(torch.randn(8, 3, 16, 16) + 1).square().mean().backward()
        optimizer.step()
    plain = models.build("squeezenet_small", **shape)  # type: ignore[arg-type]
    plain.load_state_dict(folded(trained.state_dict()))
    x_BCHW = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            plain.eval()(x_BCHW), trained.eval()(x_BCHW), rtol=1e-4, atol=1e-5
        )


def test_weights_without_normalisation_stay_as_they_are() -> None:
    state = models.build("squeezenet_small", classes=4, channels=3, size=16).state_dict()
    assert folded(state).keys() == state.keys()
