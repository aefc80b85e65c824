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
from firetree.weights.published import TORCHVISION, Published, from_metadata
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
    layers, fields = _layers(model.graph, tensors)
    described = from_metadata(told, str(path))
    if described is None:
        return recognise(layers, TORCHVISION, fields, str(path))
    found = recognise(layers, described.preprocessing, described.fields, str(path))
    return replace(described, network=found.network, state=found.state)


def _layers(
    graph: Any, tensors: Mapping[str, Tensor]
) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]:
    """Weight and bias of each layer in the graph's order, and how the last convolution is padded."""
    layers, fields = [], dict(FIELDS)
    for node in graph.node:
        held = [tensors[name] for name in node.input if name in tensors]
        if node.op_type in ("Conv", "Gemm") and held:
            # Exporters leave out a bias that is 0 everywhere.
            bias = held[1] if len(held) > 1 else torch.zeros(len(held[0]))
            layers.append((held[0], bias))
            pads = [entry.ints[0] for entry in node.attribute if entry.name == "pads"]
            fields = {"conv10_padding": pads[0] if pads else 0}
    return layers, fields
