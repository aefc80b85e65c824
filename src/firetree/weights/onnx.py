"""The initialisers of an ONNX file: weights and biases of its convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.weights.layers import recognise
from firetree.weights.published import (
    TORCHVISION,
    Published,
    check_shapes,
    from_metadata,
    shapes_of,
)
from firetree.weights.torchvision import FIELDS

_LARGEST_BYTES = 2 << 30


def read_onnx(path: Path) -> Published:
    """A file of ours says all by itself; for others pictures are prepared as for torchvision.

    Raises:
        UserError: the onnx package is missing, a damaged file, or none of our networks.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise UserError("reading ONNX needs its package; pip install 'firetree[onnx]'") from error
    if path.stat().st_size > _LARGEST_BYTES:
        raise UserError(f"{path} has over 2 GiB; expected a smaller ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in held.items()}
    except Exception as error:  # protobuf and numpy have errors of their own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read {path}: {reason}; expected a whole ONNX file") from error
    told = {entry.key: entry.value for entry in model.metadata_props}
    described = from_metadata(told, str(path))
    if described is not None:
        return replace(described, state=_state(described, _named(model.graph, tensors)))
    layers, fields = _layers(model.graph, tensors)
    return recognise(layers, TORCHVISION, fields, str(path))


def _named(graph: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by all their names: exporters keep one of small ones that are equal.

    A layer whose weight is merged with an earlier one's is known by its bias, and the other way round.
    """
    named, earlier = dict(tensors), set[str]()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            held = [name for name in node.input[1:3] if name in tensors]
            own = [name.rpartition(".")[0] for name in held]
            layer = next((one for one in own if one not in earlier), None)
            if layer is not None:
                earlier.add(layer)
                named |= {f"{layer}.{name.rpartition('.')[2]}": tensors[name] for name in held}
    return named


def _state(described: Published, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors by their names, with 0 for those that exporters leave out.

    These are biases that are 0 everywhere, and classifiers that only help to train.
    """
    *_, last, _ = shapes_of(described, classes=1)
    classes = next(iter(tensors[last].shape), 1) if last in tensors else 1
    expected = shapes_of(described, classes)
    left_out = {
        name: torch.zeros(()).expand(shape)
        for name, shape in expected.items()
        if name not in tensors and (name.endswith(".bias") or name.startswith("heads."))
    }
    found = {name: tensors[name] for name in expected if name in tensors} | left_out
    check_shapes(described.network, found, expected)
    return {name: found[name].float().contiguous() for name in expected}


def _layers(
    graph: Any, tensors: Mapping[str, Tensor]
) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]:
    """Weight and bias of each layer in the graph's order, and how the last convolution is padded."""
    layers, fields = [], dict(FIELDS)
    for node in graph.node:
        held = [tensors[name] for name in node.input if name in tensors]
        if node.op_type in ("Conv", "Gemm") and held:
            # Exporters leave out a bias that is 0 everywhere.
            bias = held[1] if len(held) > 1 else torch.zeros(held[0].shape[:1])
            layers.append((held[0], bias))
            pads = [e.ints[0] for e in node.attribute if e.name == "pads" and e.ints]
            fields = {"conv10_padding": pads[0] if pads else 0}
    return layers, fields
