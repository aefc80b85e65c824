"""SqueezeNet against its paper: parameters, Table 1, the design space, and images of any size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from firetree import models
from firetree.data.arrays import read_digits
from firetree.errors import UserError
from firetree.models.squeezenet import FireWidths, SqueezeNetShape, Stem

NAMES = tuple(name for name in models.names() if name.startswith("squeezenet"))

WEIGHTS = Path(__file__).parents[3] / "shared/data/weights/squeezenet_v1_1_caffe_fp16.safetensors"


def published(name: str, **overrides: Any) -> nn.Module:
    return models.build(name, classes=1000, channels=3, size=227, **overrides)


def shapes_through(model: nn.Module, size: int) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Each layer's input and output shape, (C, H, W) both."""
    seen: dict[str, tuple[tuple[int, ...], ...]] = {}

    def watch(name: str, layer: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = tuple(inputs[0].shape[1:]), tuple(output.shape[1:])

        layer.register_forward_hook(note)

    for name, layer in model.named_children():
        watch(name, layer)
    channels = model.get_submodule("conv1").in_channels
    with torch.no_grad():
        model.eval()(torch.zeros(1, channels, size, size))
    return seen


@pytest.mark.parametrize(
    ("name", "overrides", "parameters"),
    [
        ("squeezenet_v1_0", {}, 1_248_424),
        ("squeezenet_v1_1", {}, 1_235_496),
        ("squeezenet_v1_0", {"bypass": "simple"}, 1_248_424),
        ("squeezenet_v1_0", {"bypass": "complex"}, 1_589_672),
    ],
)
def test_parameters_are_as_many_as_in_the_paper(
    name: str, overrides: dict[str, Any], parameters: int
) -> None:
    assert models.parameter_count(published(name, **overrides)) == parameters


def test_v1_0_is_4_8_mb_in_units_of_two_to_the_twenty_bytes() -> None:
    assert round(models.parameter_count(published("squeezenet_v1_0")) * 4 / 2**20, 1) == 4.8


def test_v1_0_has_the_shapes_of_table_1() -> None:
    seen = shapes_through(published("squeezenet_v1_0"), 227)
    outputs = {layer: output for layer, (_, output) in seen.items()}
    assert outputs == {
        "conv1": (96, 111, 111),
        "fire2": (128, 55, 55),
        "fire3": (128, 55, 55),
        "fire4": (256, 55, 55),
        "fire5": (256, 27, 27),
        "fire6": (384, 27, 27),
        "fire7": (384, 27, 27),
        "fire8": (512, 27, 27),
        "fire9": (512, 13, 13),
        # Table 1 has 13x13; the published network pads conv10.
        "conv10": (1000, 15, 15),
    }
    pooled = {layer: seen[layer][0] for layer in ("fire2", "fire5", "fire9")}
    assert pooled == {"fire2": (96, 55, 55), "fire5": (256, 27, 27), "fire9": (512, 13, 13)}


def test_v1_1_pools_early() -> None:
    outputs = {
        k: out[1:] for k, (_, out) in shapes_through(published("squeezenet_v1_1"), 227).items()
    }
    assert [outputs[k] for k in ("conv1", "fire2", "fire4", "fire6", "conv10")] == [
        (113, 113), (56, 56), (28, 28), (14, 14), (14, 14),
    ]  # fmt: skip


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"published weights not at {WEIGHTS}")
def test_published_v1_1_weights_fit_one_to_one() -> None:
    ours = {
        name.replace(".squeeze1x1", ".squeeze").replace(".", "/", name.count(".") - 1): list(
            p.shape
        )
        for name, p in published("squeezenet_v1_1").state_dict().items()
    }
    with safe_open(WEIGHTS, "pt") as file:
        assert ours == {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def test_squeezenets_own_widths_come_out_of_the_equations() -> None:
    widths = SqueezeNetShape(Stem(96, 7, 2, 0), pools=(1, 4, 8)).widths()
    assert [w.squeeze1x1 for w in widths] == [16, 16, 32, 32, 48, 48, 64, 64]
    assert [w.expand1x1 for w in widths] == [64, 64, 128, 128, 192, 192, 256, 256]
    assert [w.expand3x3 for w in widths] == [64, 64, 128, 128, 192, 192, 256, 256]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 8), st.integers(0, 256), st.integers(1, 10), st.integers(1, 31), st.integers(1, 32)
)  # fmt: skip
def test_widths_follow_the_design_space_equations(
    base: int, incr_e: int, freq: int, thirty_seconds: int, squeeze: int
) -> None:
    # Multiples of 32 leave nothing to round, so the equations hold exactly.
    pct_3x3, squeeze_ratio = thirty_seconds / 32, squeeze / 32
    shape = SqueezeNetShape(
        Stem(8, 3, 1, 1), (1,), 32 * base, 32 * incr_e, freq, pct_3x3, squeeze_ratio
    )
    for i, widths in enumerate(shape.widths()):
        e = 32 * base + 32 * incr_e * (i // freq)
        assert widths == FireWidths(int(squeeze_ratio * e), e - int(pct_3x3 * e), int(pct_3x3 * e))
        assert widths.out == e


@pytest.mark.parametrize(
    ("bypass", "identity", "convolution"),
    [("none", [], []), ("simple", [3, 5, 7, 9], []), ("complex", [3, 5, 7, 9], [2, 4, 6, 8])],
)
def test_bypasses_stand_where_figure_2_has_them(
    bypass: str, identity: list[int], convolution: list[int]
) -> None:
    model = published("squeezenet_v1_0", bypass=bypass)
    of_kind = {
        kind: [k for k in range(2, 10) if isinstance(model.get_submodule(f"fire{k}").bypass, kind)]
        for kind in (nn.Identity, nn.Conv2d)
    }
    assert of_kind == {nn.Identity: identity, nn.Conv2d: convolution}


def test_a_bypass_adds_its_input_to_the_expanded_features() -> None:
    model = published("squeezenet_v1_0", bypass="simple")
    fire = model.get_submodule("fire3")
    x_BCHW = torch.randn(2, 128, 5, 5)
    bypassed = fire(x_BCHW)
    fire.bypass = None
    torch.testing.assert_close(bypassed, fire(x_BCHW) + x_BCHW)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [*range(8, 65), 96, 99, 100, 128, 224, 227, 300])
def test_any_image_from_8_pixels_up_keeps_at_least_2x2_cells(name: str, size: int) -> None:
    model = models.build(name, classes=3, channels=1, size=size)
    _, height, width = shapes_through(model, size)["conv10"][0]
    assert height == width >= 2


@pytest.mark.parametrize("name", NAMES)
def test_small_images_keep_their_resolution_in_conv1(name: str) -> None:
    model = models.build(name, classes=3, channels=1, size=28)
    assert shapes_through(model, 28)["conv1"][1][1:] == (28, 28)


@pytest.mark.parametrize("bypass", ["none", "simple", "complex"])
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_gives_zero_gradients(name: str, bypass: str) -> None:
    model = models.build(name, classes=10, channels=1, size=8, bypass=bypass)
    logits = model(torch.zeros(0, 1, 8, 8))
    assert logits.shape == (0, 10)
    logits.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_set_of_weights(name: str) -> None:
    weights = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        weights.append(models.build(name, classes=10, channels=1, size=28).state_dict())
    first, same, other = weights
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["conv10.weight"], other["conv10.weight"])


def test_an_override_of_none_keeps_the_networks_own() -> None:
    nothing = dict.fromkeys(("base_e", "incr_e", "freq", "pct_3x3", "squeeze_ratio", "bypass"))
    assert published("squeezenet_v1_1", **nothing).shape == published("squeezenet_v1_1").shape


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "squeezenet_v1"}, "no network 'squeezenet_v1'; did you mean"),
        ({"size": 7}, "images of 7 pixels"),
        ({"classes": 0}, "0 classes"),
        ({"channels": 0}, "10 classes and 0 channels"),
        ({"base_e": 0}, "base_e = 0; expected 1 or more"),
        ({"incr_e": -1}, "incr_e = -1; expected 0 or more"),
        ({"freq": 0}, "freq = 0; expected 1 or more"),
        ({"pct_3x3": 0.0}, "pct_3x3 = 0.0; expected above 0 and below 1"),
        ({"pct_3x3": 1.0}, "pct_3x3 = 1.0; expected above 0 and below 1"),
        ({"pct_3x3": float("nan")}, "pct_3x3 = nan; expected"),
        ({"squeeze_ratio": 0.0}, "squeeze_ratio = 0.0; expected above 0 and at most 1"),
        ({"squeeze_ratio": 1.1}, "squeeze_ratio = 1.1; expected above 0 and at most 1"),
        ({"bypass": "double"}, "bypass = 'double'; expected 'none', 'simple', 'complex'"),
        ({"dropout": 1.0}, "dropout = 1.0; expected 0 or more and below 1"),
        ({"conv10_padding": -5}, "conv10_padding = -5; expected 0 or 1"),
        ({"conv10_padding": 2}, "conv10_padding = 2; expected 0 or 1"),
        ({"conv10_padding": 1.0}, "conv10_padding = 1.0; expected 0 or 1"),
        ({"base_e": 4, "squeeze_ratio": 0.1}, "squeeze1x1 of fire2 has 0 filters"),
        ({"base_e": 40, "pct_3x3": 0.01}, "expand3x3 of fire2 has 0 filters"),
        ({"base_e": 40, "pct_3x3": 0.99}, "expand1x1 of fire2 has 0 filters"),
    ],
)
def test_what_no_network_can_have_is_refused_in_one_line(
    wrong: dict[str, Any], message: str
) -> None:
    right = {"name": "squeezenet_small", "classes": 10, "channels": 1, "size": 28}
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        models.build(**right | wrong)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_the_small_network_learns_digits_from_scratch() -> None:
    digits = read_digits().train
    x_BCHW = torch.tensor(digits.array_NHWC).float().view(-1, 1, 8, 8)
    x_BCHW = (x_BCHW - x_BCHW.mean()) / x_BCHW.std()
    y_B = torch.tensor(digits.labels)
    torch.manual_seed(0)
    train, test = torch.randperm(len(y_B)).split([1437, 360])
    model = models.build("squeezenet_small", classes=10, channels=1, size=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=12 * 23)
    for _ in range(12):
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x_BCHW[batch]), y_B[batch]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            fall.step()
    with torch.no_grad():
        right = model.eval()(x_BCHW[test]).argmax(dim=1) == y_B[test]
    accuracy = float(right.float().mean())
    assert accuracy >= 0.95
