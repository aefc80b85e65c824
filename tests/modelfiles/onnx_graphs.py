"""ONNX graphs of SqueezeNet v1.1 and AlexNet in one tower, node by node as torch's exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
Node = onnx.helper.make_node

TENSORS = dict[str, Tensor]


class Nodes:
    """Nodes one behind the other, each with the output of its own name."""

    def __init__(self, state: TENSORS):
        self.made: list[Any] = []
        self._layers = iter([n.removesuffix(".weight") for n in state if n.endswith(".weight")])

    def add(self, kind: str, name: str, *inputs: str, **told: Any) -> str:
        self.made.append(Node(kind, inputs, [name], name=name, **told))
        return name

    def layer(self, kind: str, x: str, **told: Any) -> str:
        """The next one, by its name."""
        name = next(self._layers)
        return self.add(kind, name, x, f"{name}.weight", f"{name}.bias", **told)

    def relu(self, x: str) -> str:
        return self.add("Relu", f"relu_{x}", x)

    def conv(self, x: str, kernel: int, stride: int = 1, pad: int = 0) -> str:
        told = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.relu(self.layer("Conv", x, **told))

    def pool(self, x: str) -> str:
        told = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
        return self.add("MaxPool", f"pool_{x}", x, **told)


def squeezenet_v1_1(state: TENSORS, kind: Any = np.float32, side: int = 0) -> Any:
    """A model whose input has images of this size, if any."""
    nodes = Nodes(state)
    x = nodes.pool(nodes.conv("x", 3, stride=2))
    for k in range(2, 10):
        squeezed = nodes.conv(x, 1)
        expanded = nodes.conv(squeezed, 1), nodes.conv(squeezed, 3, pad=1)
        x = nodes.add("Concat", f"concat{k}", *expanded, axis=1)
        x = nodes.pool(x) if k in (3, 5) else x
    x = nodes.conv(nodes.add("Dropout", "dropout", x), 1)
    nodes.add("Flatten", "flat", nodes.add("GlobalAveragePool", "mean", x))
    return model(nodes.made, state, kind, side)


def alexnet_one_tower(state: TENSORS, transposed: bool) -> Any:
    """With the matrices of its last layers as torch has them, or not, for images of 224 pixels."""
    nodes = Nodes(state)
    x = nodes.pool(nodes.conv("x", 11, stride=4, pad=2))
    x = nodes.pool(nodes.conv(x, 5, pad=2))
    for _ in range(3):
        x = nodes.conv(x, 3, pad=1)
    x = nodes.add("Flatten", "flat", nodes.pool(x))
    for _ in range(2):
        x = nodes.relu(nodes.layer("Gemm", x, transB=int(transposed)))
    nodes.add("Softmax", "softmax", nodes.layer("Gemm", x, transB=int(transposed)))
    turned = {
        n: t.t().contiguous() if t.dim() == 2 and not transposed else t for n, t in state.items()
    }
    return model(nodes.made, turned, np.float32, 224)


def model(nodes: list[Any], state: TENSORS, kind: Any, side: int) -> Any:
    held = [onnx.numpy_helper.from_array(t.numpy().astype(kind), n) for n, t in state.items()]
    sides = [side] * 2 if side else ["height", "width"]
    value = onnx.helper.make_tensor_value_info
    x = value("x", onnx.TensorProto.FLOAT, ["batch", 3, *sides])
    y = value(nodes[-1].output[0], onnx.TensorProto.FLOAT, ["batch", "classes"])
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "", [x], [y], held))


def changed(made: Any, node: str, **told: Any) -> Any:
    """The model with other attributes of the node of this name; None for none."""
    (found,) = [one for one in made.graph.node if one.name == node]
    for name, value in told.items():
        for entry in [one for one in found.attribute if one.name == name]:
            found.attribute.remove(entry)
        if value is not None:
            found.attribute.append(onnx.helper.make_attribute(name, value))
    return made


def without(made: Any, node: str) -> Any:
    """The model in which the node's input goes where its output went."""
    (found,) = [one for one in made.graph.node if one.name == node]
    made.graph.node.remove(found)
    return rewired(made, found.output[0], found.input[0])


def rewired(made: Any, old: str, new: str) -> Any:
    """The model in which all that read one value read another."""
    for one in made.graph.node:
        inputs = [new if name == old else name for name in one.input]
        del one.input[:]
        one.input.extend(inputs)
    return made
