"""A network's computation as a value, layer by layer, so that two networks can be compared.

`of_network` describes one of ours, and `graphs` an ONNX file. Operations between layers are nested tuples
such as `("relu", ("layer", 0))`. They are in one form for all exporters: a ReLU comes before a pool or a
concatenation, a pool has its number of cells, and operations without effect are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from firetree.models.classic import local_response_norm

Expression = tuple[Any, ...]

IMAGE: Expression = ("image",)


class Value(NamedTuple):
    """A tensor's expression, its height and width, and the number of tuples in the expression."""

    what: Expression
    side: int
    size: int = 1

    def then(self, kind: str, *numbers: object, side: int | None = None) -> Value:
        """The result of an operation on it."""
        after = self.side if side is None else side
        return Value((kind, *numbers, self.what), after, self.size + 1)


@dataclass(frozen=True, slots=True)
class Computation:
    """Each layer with weights as its numbers and input, by name; and the outputs."""

    layers: Sequence[Mapping[str, Any]]
    outputs: Sequence[Expression]


class Window(NamedTuple):
    """The window of a convolution or a pool, the same for both axes."""

    kernel: int
    stride: int = 1
    begin: int = 0
    end: int = 0
    dilation: int = 1
    ceil: bool = False

    def cells(self, side: int) -> int:
        """The number of cells of its output, a side."""
        span = side + self.begin + self.end - self.dilation * (self.kernel - 1) - 1
        stride = max(self.stride, 1)
        if not self.ceil:
            return span // stride + 1
        cells = -(-span // stride) + 1
        return cells - ((cells - 1) * stride >= side + self.begin)  # none starts after the image

    def in_words(self, cells: int) -> str:
        """As errors have it."""
        return f"{self.kernel}x{self.kernel} by {self.stride} from {-self.begin} to {cells} cells"


def relu(value: Value) -> Value:
    return Value(_relu(value.what), value.side, value.size + 1)


def _relu(what: Expression) -> Expression:
    match what:
        case ("relu", _):
            return what
        case ("concat", *parts):
            return ("concat", *map(_relu, parts))
        case ("max_pool", *window, inner):
            return ("max_pool", *window, _relu(inner))
    return ("relu", what)


def concat(values: Sequence[Value]) -> Value:
    """The values concatenated along the channels."""
    whats = [value.what for value in values]
    return Value(("concat", *whats), values[0].side, 1 + sum(value.size for value in values))


def max_pool(value: Value, window: Window) -> Value:
    cells = window.cells(value.side)
    return value.then("max_pool", window.in_words(cells), side=cells)


def average_pool(value: Value, window: Window) -> Value:
    cells = window.cells(value.side)
    if window == Window(1):
        return value
    if cells == 1 and window.kernel == value.side and not window.begin:
        return value.then("mean", side=1)
    return value.then("average_pool", window.in_words(cells), side=cells)


def flat(value: Value) -> Value:
    """The value as one row; flattening a mean changes nothing."""
    return value if value.what[0] in ("mean", "flat") else value.then("flat", side=1)


def in_words(what: object, layers: Sequence[str]) -> str:
    """An expression in readable form, with the layers' names; anything else as text."""
    if not isinstance(what, tuple) or not what or not isinstance(what[0], str):
        return str(what)
    kind, *parts = what
    if kind == "layer":
        return layers[parts[0]]
    inner = ", ".join(in_words(part, layers) for part in parts)
    return f"{kind}({inner})" if inner else kind


def of_network(network: nn.Module, side: int) -> Computation:
    """What one of our SqueezeNets or AlexNets computes for images of `side` pixels."""
    values: dict[str, Value] = {}
    layers: list[Mapping[str, Any]] = []
    outputs: list[Expression] = []
    for node in fx.Tracer(autowrap_functions=(local_response_norm,)).trace(network).nodes:
        given = [values[one.name] for one in node.all_input_nodes]
        match node.op:
            case "placeholder":
                values[node.name] = Value(IMAGE, side)
            case "call_module":
                module = network.get_submodule(str(node.target))
                values[node.name] = _behind_module(module, given[0], layers)
            case "output":
                outputs = [value.what for value in given]
            case _:
                values[node.name] = _behind_call(node, given)
    return Computation(layers, outputs)


def _behind_module(module: nn.Module, value: Value, layers: list[Mapping[str, Any]]) -> Value:
    match module:
        case nn.Conv2d(kernel_size=(kernel, _), stride=stride, dilation=dilation):
            assert not isinstance(module.padding, str)
            around = module.padding[0]
            numbers = {
                "stride": stride,
                "padding": (*module.padding, *module.padding),
                "dilation": dilation,
                "groups": module.groups,
            }
            side = Window(kernel, stride[0], around, around, dilation[0]).cells(value.side)
        case nn.Linear():
            numbers, side = {"alpha": 1.0, "beta": 1.0, "transA": 0}, 1
        case _:
            assert isinstance(module, nn.AdaptiveAvgPool2d)
            assert isinstance(module.output_size, int)
            each = value.side // module.output_size
            return average_pool(value, Window(each, each))
    layers.append({**numbers, "input": value.what})
    return Value(("layer", len(layers) - 1), side)


def _behind_call(node: fx.Node, given: Sequence[Value]) -> Value:
    if node.target is torch.cat:
        return concat(given)
    (value,) = given
    if node.target is F.relu:
        return relu(value)
    if node.target is F.max_pool2d:
        ceil = bool(node.kwargs["ceil_mode"])
        return max_pool(value, Window(node.args[1], node.kwargs["stride"], ceil=ceil))  # type: ignore[arg-type]
    if node.target is local_response_norm:
        return value.then("local_response_norm", 5, 1e-4, 0.75, 1.0)
    if node.target == "mean":
        return value.then("mean", side=1)
    if node.target == "flatten":
        return flat(value)
    assert node.target is F.dropout, node.target
    return value
