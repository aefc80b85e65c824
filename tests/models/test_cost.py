"""What networks cost, against formulas by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from firetree import models
from firetree.errors import UserError
from firetree.models.cost import Cost, Layer, cost


def cost_of(name: str, size: int) -> Cost:
    with torch.device("meta"):
        network = models.build(name, classes=1000, channels=3, size=size)
    return cost(network, torch.empty(1, 3, size, size))


def test_a_layer_costs_what_the_formulas_say() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=1, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 10)
    )  # fmt: skip
    convolution, linear = cost(network, torch.empty(4, 3, 15, 15)).layers
    assert convolution == Layer(
        name="0",
        kind="Conv2d",
        weight_bytes=(8 * 3 * 5 * 5 + 8) * 4,
        flops=2 * 8 * 7 * 7 * 3 * 5 * 5,
        activations=8 * 7 * 7,
    )
    assert linear == Layer(
        name="3",
        kind="Linear",
        weight_bytes=(10 * 8 * 49 + 10) * 4,
        flops=2 * 10 * 8 * 49,
        activations=10,
    )


def test_a_grouped_convolution_has_half_the_arithmetic() -> None:
    whole, grouped = cost_of("alexnet", 227), cost_of("alexnet_grouped", 227)
    ratios = [b.flops / a.flops for a, b in zip(whole.layers, grouped.layers, strict=True)]
    assert ratios == [1, 0.5, 1, 0.5, 0.5, 1, 1, 1]


def test_vgg19_adds_up_to_its_papers_figures() -> None:
    seen = cost_of("vgg19", 224)
    cells = [224, 112, 56, 28, 14]
    widths = [64, 128, 256, 512, 512]
    inputs = [3, *widths]
    macs = activations = 0
    for k, convolutions in enumerate((2, 2, 4, 4, 4)):
        for i in range(convolutions):
            filters, seen_channels = widths[k], widths[k] if i else inputs[k]
            macs += 9 * seen_channels * filters * cells[k] ** 2
            activations += filters * cells[k] ** 2
    for inward, outward in ((512 * 49, 4096), (4096, 4096), (4096, 1000)):
        macs += inward * outward
        activations += outward
    assert seen.weight_bytes == 143_667_240 * 4
    assert seen.flops == 2 * macs
    assert seen.activation_bytes == 4 * activations
    assert len(seen.layers) == 19


@pytest.mark.parametrize(
    ("name", "size"),
    [("nin", 227), ("googlenet", 224), ("alexnet", 227), ("squeezenet_v1_0", 227), ("vgg19", 224)],
)
def test_weights_are_far_fewer_than_the_activations_of_a_batch_of_1024(
    name: str, size: int
) -> None:
    """FireCaffe's argument for data parallelism."""
    seen = cost_of(name, size)
    assert seen.weight_bytes * 4 < seen.activation_bytes * 1024


def test_layers_come_in_the_order_of_the_forward_pass() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Linear(4, 3)
            self.first = nn.Linear(5, 4)
            self.never = nn.Linear(2, 2)

        def forward(self, x_BF: Tensor) -> Tensor:
            logits: Tensor = self.second(self.first(x_BF))
            return logits

    seen = cost(Reversed(), torch.empty(2, 5)).layers
    assert [(layer.name, layer.flops) for layer in seen] == [
        ("first", 40),
        ("second", 24),
        ("never", 0),
    ]


def test_a_shared_weight_counts_once_and_works_each_time() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Linear(4, 4, bias=False)
            self.decode = nn.Linear(4, 4, bias=False)
            self.decode.weight = self.encode.weight

        def forward(self, x_BF: Tensor) -> Tensor:
            logits: Tensor = self.decode(self.encode(self.encode(x_BF)))
            return logits

    encode, decode = cost(Tied(), torch.empty(1, 4)).layers
    assert (encode.weight_bytes, decode.weight_bytes) == (64, 0)
    assert (encode.flops, encode.activations) == (64, 8)
    assert (decode.flops, decode.activations) == (32, 4)


def test_the_batch_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    assert cost(network, torch.empty(1, 3, 8, 8)) == cost(network, torch.empty(7, 3, 8, 8))


def test_describing_a_network_leaves_it_as_it_was() -> None:
    class BranchesOnNumbers(nn.Sequential):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            y_BCHW: Tensor = super().forward(x_BCHW)
            return y_BCHW if y_BCHW.sum() > 1e9 else y_BCHW * 2

    for network in (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        BranchesOnNumbers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    ):
        before = {key: value.clone() for key, value in network.state_dict().items()}
        seen = cost(network, torch.randn(2, 3, 8, 8))
        assert [layer.kind for layer in seen.layers] == ["Conv2d", "BatchNorm2d"]
        assert seen.flops == 2 * 4 * 36 * 27
        for key, value in network.state_dict().items():
            assert torch.equal(value, before[key])
        assert not any(module._forward_hooks for module in network.modules())
        assert all(parameter.grad is None for parameter in network.parameters())


def test_training_mode_has_googlenets_auxiliary_classifiers() -> None:
    with torch.device("meta"):
        network = models.build("googlenet", classes=1000, channels=3, size=224)
    example = torch.empty(1, 3, 224, 224)
    training, evaluation = cost(network, example), cost(network.eval(), example)
    assert training.weight_bytes == evaluation.weight_bytes == 13_378_280 * 4
    heads = {layer.name: layer.flops for layer in evaluation.layers if "heads" in layer.name}
    assert len(heads) == 6
    assert not any(heads.values())
    assert training.flops > evaluation.flops


def test_an_example_that_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"does not take a batch of shape \(1, 7\)") as refusal:
        cost(nn.Linear(3, 2), torch.empty(1, 7))
    assert "\n" not in str(refusal.value)
