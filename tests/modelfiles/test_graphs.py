"""An ONNX graph is read only where it computes what our network with its weights does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import fresh
from onnx_graphs import Node, alexnet_one_tower, changed, rewired, squeezenet_v1_1, without
from torch import Tensor

from firetree.errors import UserError
from firetree.modelfiles import Model, load_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return fresh("squeezenet_v1_1")


def load(folder: Path, made: Any) -> Model:
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    return load_model(folder / "net.onnx")


@pytest.mark.parametrize(
    ("node", "told", "message"),
    [
        ("conv1", {"strides": [1, 1]}, r"conv1 .* the stride \(1, 1\); expected \(2, 2\), as"),
        ("conv1", {"strides": [2, 1]}, r"conv1 .* the stride \(2, 1\); expected \(2, 2\), as"),
        ("conv1", {"strides": None}, r"conv1 .* the stride \(1, 1\); expected \(2, 2\), as"),
        ("conv1", {"pads": [1] * 4}, r"conv1 .* the padding \(1, 1, 1, 1\); expected \(0, 0, 0"),
        ("conv1", {"pads": [0, 0, 1, 1]}, r"conv1 .* the padding \(0, 0, 1, 1\); expected \(0,"),
        ("conv1", {"auto_pad": "SAME_UPPER"}, r"conv1 .* the padding .*SAME_UPPER.*; expected"),
        ("conv1", {"dilations": [2, 2]}, r"conv1 .* the dilation \(2, 2\); expected \(1, 1\), as"),
        ("conv1", {"group": 3}, "conv1 .* the groups 3; expected 1, as squeezenet_v1_1 has for"),
        (
            "fire2.expand3x3",
            {"pads": [0] * 4},
            r"fire2.expand3x3 .* the padding \(0, 0, 0, 0\); expected",
        ),
        ("pool_relu_conv1", {"strides": [3, 3]}, "the input max_pool.3x3 by 3 from 0 to 37 cells"),
        (
            "pool_relu_conv1",
            {"kernel_shape": [2, 2]},
            "the input max_pool.2x2 by 2 from 0 to 56 cells",
        ),
        ("pool_relu_conv1", {"kernel_shape": [3, 2]}, "the input MaxPool.relu.conv1"),
        ("pool_relu_conv1", {"pads": [1] * 4}, "the input max_pool.3x3 by 2 from -1 to 56 cells"),
        ("pool_relu_conv1", {"dilations": [2, 2]}, "the input max_pool.*; expected max_pool"),
        ("concat2", {"axis": 2}, r"fire3.squeeze1x1 .* the input Concat\(relu\(fire2.expand1x1"),
    ],
)
def test_another_number_of_a_layer_or_pool_is_refused(
    tmp_path: Path, state: dict[str, Tensor], node: str, told: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load(tmp_path, changed(squeezenet_v1_1(state, side=224), node, **told))
    assert "\n" not in str(refusal.value)


def test_a_pool_that_leaves_out_a_row_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    message = (
        r"fire2.squeeze1x1 .* the input max_pool\(3x3 by 2 from 0 to 55 cells, relu\(conv1\)\); "
        r"expected max_pool\(3x3 by 2 from 0 to 56 cells, relu\(conv1\)\), as"
    )
    with pytest.raises(UserError, match=message):
        load(tmp_path, changed(squeezenet_v1_1(state, side=225), "pool_relu_conv1", ceil_mode=0))


@pytest.mark.parametrize(
    ("side", "node", "told"),
    [
        (227, "pool_relu_conv1", {"ceil_mode": 0}),
        (225, "pool_relu_conv1", {"ceil_mode": 0, "pads": [0, 0, 1, 1]}),
        (224, "conv1", {"auto_pad": "VALID", "pads": None}),
        (224, "conv1", {"auto_pad": "NOTSET", "dilations": [1, 1], "group": 1}),
        (224, "fire2.squeeze1x1", {"strides": None, "pads": None}),
    ],
)
def test_the_same_put_otherwise_is_read(
    tmp_path: Path, state: dict[str, Tensor], side: int, node: str, told: dict[str, Any]
) -> None:
    made = changed(squeezenet_v1_1(state, side=side), node, **told)
    assert load(tmp_path, made).network == "squeezenet_v1_1"


def swapped(made: Any) -> Any:
    (concat,) = [one for one in made.graph.node if one.name == "concat2"]
    inputs = [*concat.input][::-1]
    del concat.input[:]
    concat.input.extend(inputs)
    return made


def channels_turned(made: Any) -> Any:
    """BGR for RGB, before the first layer."""
    order = onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order")
    made.graph.initializer.append(order)
    made = rewired(made, "x", "turned")
    made.graph.node.insert(0, Node("Gather", ["x", "order"], ["turned"], axis=1))
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda made: without(made, "relu_conv1"),
            r"the input max_pool\(.*, conv1\); expected max_po",
        ),
        (
            lambda made: without(made, "pool_relu_conv1"),
            r"the input relu\(conv1\); expected max_pool",
        ),
        (
            lambda made: without(made, "relu_conv10"),
            r"gives mean\(conv10\); expected mean\(relu\(co",
        ),
        (lambda made: without(made, "mean"), r"gives relu\(conv10\); expected mean"),
        (swapped, r"the input concat\(relu\(fire2.expand3x3\), relu\(fire2.expand1x1\)\); expec"),
        (
            lambda made: rewired(made, "concat3", "concat2"),
            r"fire4.squeeze1x1 .*relu\(fire2.*; expected .*relu\(fire3",
        ),
        (channels_turned, r"conv1 .* has the input Gather\(image\); expected image, as"),
        (lambda made: rewired(made, "x", "z"), "26 layers, of which its image reaches 0"),
    ],
)
def test_another_way_through_the_graph_is_refused(
    tmp_path: Path, state: dict[str, Tensor], change: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, change(squeezenet_v1_1(state, side=224)))


def test_weights_for_other_images_than_the_input_has_are_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    message = (
        r"conv1 .* the stride \(2, 2\); expected \(1, 1\), as squeezenet_v1_1 has for images of 64"
    )
    with pytest.raises(UserError, match=message):
        load(tmp_path, squeezenet_v1_1(state, side=64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("node", "told", "message"),
    [
        ("fc6", {"alpha": 0.5}, r"fc6 .* has the alpha 0.5; expected 1.0, as alexnet_one_tower"),
        ("conv2", {"group": 2}, "conv2 .* has the groups 2; expected 1"),
        ("conv1", {"pads": [0] * 4}, r"conv1 .* the padding \(0, 0, 0, 0\); expected \(2, 2, 2"),
    ],
)
def test_alexnets_are_compared_too(
    tmp_path: Path, node: str, told: dict[str, Any], message: str
) -> None:
    made = changed(
        alexnet_one_tower(fresh("alexnet_one_tower", 224, classes=3), True), node, **told
    )
    with pytest.raises(UserError, match=message):
        load(tmp_path, made)


def test_a_graph_made_to_take_long_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    made = rewired(squeezenet_v1_1(state, side=224), "x", "many39")
    for k in range(40):
        inputs = [f"many{k - 1}"] * 2 if k else ["x", "x"]
        made.graph.node.insert(k, Node("Concat", inputs, [f"many{k}"], axis=1))
    with pytest.raises(UserError, match="over 1,000 operations between two layers"):
        load(tmp_path, made)


def test_what_is_read_gives_what_the_graph_gives(tmp_path: Path, state: dict[str, Tensor]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = load(tmp_path, squeezenet_v1_1(state, side=224))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    (found,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.build()(x))
