"""When gradients are ready, on small networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firetree import models
from firetree.errors import UserError
from firetree.models.cost import cost
from firetree.models.profile import Gradient, Profile
from firetree.models.timing import measure

DEEP = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))


@pytest.mark.parametrize("name", models.names())
def test_gradients_add_up_to_the_weights(name: str) -> None:
    network = models.build(name, classes=10, channels=3, size=8)
    example = torch.randn(2, 3, 8, 8)
    seen = measure(network, example, repeats=1)
    assert sum(g.size_bytes for g in seen.gradients) == cost(network, example).weight_bytes
    assert {g.name for g in seen.gradients} == {name for name, _ in network.named_parameters()}


def test_the_last_layers_gradients_are_ready_first() -> None:
    names = [g.name for g in measure(DEEP, torch.randn(512, 64)).gradients]
    layers = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert layers == ["5", "4", "3", "2", "1", "0"]


def test_gradients_arrive_in_order_within_the_backward_pass() -> None:
    seen = measure(DEEP, torch.randn(256, 64))
    ready_s = [g.ready_s for g in seen.gradients]
    assert ready_s == sorted(ready_s)
    assert 0 < ready_s[0] < ready_s[-1]
    assert seen.forward_s > 0
    one = measure(DEEP, torch.randn(256, 64), repeats=1)
    assert one.gradients[-1].ready_s <= one.backward_s


def test_measuring_leaves_gradients_as_they_were_and_no_hooks() -> None:
    network = nn.Sequential(nn.Linear(4, 4))
    network[0].weight.grad = torch.ones(4, 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    measure(network, torch.randn(2, 4))
    for key, parameter in network.named_parameters():
        assert torch.equal(parameter, before[key])
        assert not parameter._post_accumulate_grad_hooks
    assert torch.equal(network[0].weight.grad, torch.ones(4, 4))
    assert network[0].bias.grad is None


def test_frozen_and_unused_parameters_have_no_gradient() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[0].requires_grad_(False)
    network.unused = nn.Linear(4, 4)
    network.forward = lambda x_BF: network[1](network[0](x_BF))
    assert {g.name for g in measure(network, torch.randn(2, 4)).gradients} == {"1.weight", "1.bias"}


def test_scaling_keeps_the_shape_of_the_step() -> None:
    gradients = (Gradient("b", 8, 0.5), Gradient("a", 4, 2.0))
    scaled = Profile(1.0, 3.0, gradients).scaled(compute_s=0.4)
    assert scaled.forward_s == pytest.approx(0.1)
    assert scaled.backward_s == pytest.approx(0.3)
    assert [g.ready_s for g in scaled.gradients] == pytest.approx([0.05, 0.2])
    assert [(g.name, g.size_bytes) for g in scaled.gradients] == [("b", 8), ("a", 4)]


@pytest.mark.parametrize(
    ("network", "example", "repeats", "message"),
    [
        (nn.Linear(3, 2), torch.randn(1, 7), 3, r"no training step with a batch of shape \(1, 7\)"),
        (nn.ReLU(), torch.randn(1, 3), 3, "the network trains no parameter"),
        (nn.Linear(3, 2), torch.randn(1, 3), 0, "0 repeats; expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    network: nn.Module, example: torch.Tensor, repeats: int, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        measure(network, example, repeats)
    assert "\n" not in str(refusal.value)
