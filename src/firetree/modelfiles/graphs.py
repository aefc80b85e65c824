"""Check that an ONNX graph computes the network that its weights look like: weights alone do not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from firetree.errors import UserError
from firetree.modelfiles.computation import (
    IMAGE,
    Computation,
    Expression,
    Value,
    Window,
    average_pool,
    concat,
    flat,
    in_words,
    max_pool,
    of_network,
    relu,
)
from firetree.modelfiles.model import Model

_OURS = {
    *("Conv", "Gemm", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "LRN"),
    *("Cast", "Concat", "Constant", "Dropout", "Flatten", "Gather", "Identity", "LogSoftmax"),
    *("Pad", "Reshape", "Shape", "Slice", "Softmax", "Squeeze", "Unsqueeze"),
}
"""Operators of SqueezeNets and AlexNets, from any exporter."""
_LAST = ("flat", "LogSoftmax", "Softmax")
"""Operations that may follow the last layer, since no answer depends on them."""
_LARGEST = 1000
"""Most operations between two layers. Only a graph made to waste time has more."""


def check_graph(
    graph: Any,
    tensors: Mapping[str, Tensor],
    model: Model,
    layers: Sequence[str],
    source: str,
) -> None:
    """Refuse a graph that computes something else than the network, for images of the model's size.

    Args:
        tensors: those known before the graph runs.
        layers: names of the graph's layers with weights, as many as the network's and in their order.

    Raises:
        UserError: the first operator, number of a layer, or connection that differs.
    """
    network, side = model.network, model.preprocessing.crop
    theirs_alone = {
        node.op_type
        for node in graph.node
        if node.op_type not in _OURS or node.domain not in ("", "ai.onnx")
    }
    if theirs_alone:
        raise UserError(
            f"{source} also computes {', '.join(sorted(theirs_alone))}, which {network} does not; expected that "
            "network alone"
        )
    theirs, ours = _of_graph(graph, tensors, side, source), of_network(model.build(), side)
    if len(theirs.layers) != len(layers):
        raise UserError(
            f"{source} has {len(layers)} layers, of which its image reaches {len(theirs.layers)}; "
            "expected all"
        )
    as_ours = f"as {network} has for images of {side} pixels"
    for layer, given, expected in zip(layers, theirs.layers, ours.layers, strict=True):
        for name, value in expected.items():
            if given.get(name) != value:
                raise UserError(
                    f"{layer} of {source} has the {name} {in_words(given.get(name), layers)}; "
                    f"expected {in_words(value, layers)}, {as_ours}"
                )
    (answer,) = ours.outputs
    if answer not in theirs.outputs:
        outputs = " and ".join(in_words(what, layers) for what in theirs.outputs) or "nothing"
        raise UserError(f"{source} gives {outputs}; expected {in_words(answer, layers)}, {as_ours}")


class _Node(NamedTuple):
    """An operation on values that come from the image."""

    kind: str
    attributes: Mapping[str, Any]
    given: Sequence[Value]
    known: Sequence[Tensor]
    """Its other inputs that are known before the graph runs."""
    inputs: int

    @property
    def padding(self) -> tuple[int, ...] | str:
        """Top, left, bottom and right; or the name of an automatic padding, which none of ours has."""
        auto = self.attributes.get("auto_pad", b"NOTSET")
        if auto == b"NOTSET":
            return tuple(self.attributes.get("pads", (0, 0, 0, 0)))
        return (0, 0, 0, 0) if auto == b"VALID" else str(auto)

    def pair(self, name: str) -> tuple[int, ...]:
        """The numbers of both axes; 1 by default."""
        return tuple(self.attributes.get(name, (1, 1)))

    def window(self, kernel: Sequence[int]) -> Window | None:
        """The window; None for one that no network of ours has."""
        pads, stride, dilation = self.padding, self.pair("strides"), self.pair("dilations")
        pairs = kernel, stride, dilation, pads[:2], pads[2:]
        if isinstance(pads, str) or any(len(one) != 2 or one[0] != one[1] for one in pairs):
            return None
        ceil = bool(self.attributes.get("ceil_mode"))
        return Window(kernel[0], stride[0], pads[0], pads[2], dilation[0], ceil)


def _of_graph(graph: Any, tensors: Mapping[str, Tensor], side: int, source: str) -> Computation:
    from onnx.helper import get_attribute_value

    image = next((one.name for one in graph.input if one.name not in tensors), "")
    values = {image: Value(IMAGE, side)}
    layers: list[Mapping[str, Any]] = []
    for node in graph.node:
        given = [values[name] for name in node.input if name in values]
        if not given:
            continue  # arithmetic of shapes alone
        attributes = {entry.name: get_attribute_value(entry) for entry in node.attribute}
        known = [tensors[name] for name in node.input if name in tensors]
        step = _Node(node.op_type, attributes, given, known, len(node.input))
        if step.kind in ("Conv", "Gemm") and known:
            layers.append(_layer(step))
            window = step.window(known[0].shape[2:])
            value = Value(("layer", len(layers) - 1), window.cells(given[0].side) if window else 1)
        else:
            value = _behind(step)
        if value.size > _LARGEST:
            raise UserError(f"{source} has over {_LARGEST:,} operations between two layers")
        values[node.output[0]] = value
    names = [one.name for one in graph.output] or [graph.node[-1].output[0]]
    outputs = [values[name].what for name in names if name in values]
    return Computation(layers, [_without_last(what) for what in outputs])


def _without_last(what: Expression) -> Expression:
    while what[0] in _LAST:
        what = what[-1]
    return what


def _layer(step: _Node) -> dict[str, Any]:
    """A layer's numbers and input, by the names that `of_network` uses."""
    if step.kind == "Gemm":
        defaults = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        numbers = {name: step.attributes.get(name, value) for name, value in defaults.items()}
    else:
        numbers = {
            "stride": step.pair("strides"),
            "padding": step.padding,
            "dilation": step.pair("dilations"),
            "groups": step.attributes.get("group", 1),
        }
    return {**numbers, "input": step.given[0].what}


def _behind(step: _Node) -> Value:
    """The result of an operation without weights; under its own name where none of ours has it so."""
    value = step.given[0]
    match step.kind:
        case "Identity" | "Dropout" | "Cast":
            return value
        case "Relu":
            return relu(value)
        case "Concat" if step.attributes["axis"] in (1, -3) and len(step.given) == step.inputs:
            return concat(step.given)
        case "MaxPool" | "AveragePool" if window := step.window(step.attributes["kernel_shape"]):
            return (max_pool if step.kind == "MaxPool" else average_pool)(value, window)
        case "GlobalAveragePool":
            return value.then("mean", side=1)
        case "ReduceMean" if {axis % 4 for axis in step.attributes.get("axes") or _first(step)} == {
            2,
            3,
        }:
            return value.then("mean", side=1)
        case "LRN":
            size, bias = step.attributes["size"], step.attributes.get("bias", 1.0)
            scales = (step.attributes.get("alpha", 1e-4), step.attributes.get("beta", 0.75), bias)
            numbers = [float(f"{number:.6g}") for number in scales]
            return value.then("local_response_norm", size, *numbers)
        case "Reshape" | "Flatten" if step.attributes.get("axis", 1) == 1:
            return flat(value)
        case "Squeeze" | "Unsqueeze" if value.what[0] == "mean":
            return value
        case "Pad" if not any(step.attributes.get("pads", ())) and not any(map(bool, _first(step))):
            return value
    return value.then(step.kind)


def _first(step: _Node) -> list[int]:
    """The numbers of the first other input, where opsets since 11 to 18 have axes and pads."""
    return step.known[0].flatten().tolist() if step.known else []
