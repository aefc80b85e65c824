"""The weights of an ONNX file: those of its convolutions and matrix products, in it or beside it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.errors import UserError
from firetree.extras import extra
from firetree.foreign import reading
from firetree.modelfiles.graphs import check_graph
from firetree.modelfiles.kinds import network_like
from firetree.modelfiles.layers import Layers, recognise, refusal
from firetree.modelfiles.model import Model, check_shapes, from_metadata, shapes_of
from firetree.modelfiles.preprocessing import TORCHVISION, Preprocessing
from firetree.modelfiles.published import TORCHVISION_FIELDS
from firetree.models.families import NORMALISED

_LARGEST_BYTES = 2 << 30
_LARGEST_SIDE = 2048
_QUANTISED = re.compile("QuantizeLinear|^QLinear|Integer$|^MatMulNBits$")


def read_onnx(path: Path) -> Model:
    """Read the model; for files that firetree did not write, images are prepared as for torchvision.

    Raises:
        UserError: the onnx package is missing, a damaged file, or none of our networks.
    """
    with extra("onnx", "read ONNX"):
        import onnx
    if path.stat().st_size > _LARGEST_BYTES:
        raise UserError(f"{path} has over 2 GiB; expected a smaller ONNX file")
    with reading(path, "a whole ONNX file", why=_one_line):
        loaded = onnx.load(str(path), load_external_data=False)
        kinds = {node.op_type for node in loaded.graph.node}
        if quantised := sorted(kind for kind in kinds if _QUANTISED.search(kind)):
            raise UserError(
                f"{path} is quantised ({', '.join(quantised)}); expected the ONNX file that it was "
                "made from"
            )
        tensors = _tensors(loaded.graph, path)
    properties = {entry.key: entry.value for entry in loaded.metadata_props}
    described = from_metadata(properties, str(path))
    if described is not None:
        if described.network in NORMALISED:
            raise UserError(
                f"{path} is {described.network}, whose ONNX is not read yet; expected what it was made from"
            )
        return replace(described, state=_state(described, _named(loaded.graph, tensors)))
    layers, fields = _layers(loaded.graph, tensors)
    model = recognise(layers, _prepared(loaded.graph), fields)
    if model is None:
        like = network_like(tensors)
        if like is None and "ConstantOfShape" in kinds and not layers:
            like = "a graph that computes its weights (ConstantOfShape)"
        raise refusal(layers, str(path), like)
    with reading(path, "a whole ONNX file", why=_one_line):
        check_graph(loaded.graph, tensors, model, list(layers), str(path))
    return model


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tensors(graph: Any, path: Path) -> dict[str, Tensor]:
    """Tensors that are known before the graph runs: initialisers, constants, and casts of these."""
    from onnx import numpy_helper

    held = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            held |= dict.fromkeys(node.output, next(e.t for e in node.attribute))
    beside_bytes = sum(_size_bytes(one) for one in held.values() if one.external_data)
    if beside_bytes > _LARGEST_BYTES:
        raise UserError(f"{path} has {beside_bytes:,} bytes of tensors; expected at most 2 GiB")
    tensors = {
        name: _as_torch(numpy_helper.to_array(_read_beside(one, path)))
        for name, one in held.items()
    }
    for node in graph.node:
        if node.op_type in ("Identity", "Cast") and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    return tensors


def _as_torch(array: npt.NDArray[Any]) -> Tensor:
    """The array as a tensor; floats of any width in float32, since torch lacks some of ONNX's types."""
    floats = array.dtype.kind == "f" or "float" in array.dtype.name
    return torch.from_numpy(array.astype(np.float32) if floats else array.copy())


def _prepared(graph: Any) -> Preprocessing:
    """The preprocessing of torchvision's networks, at the size of the graph's input."""
    initial = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in initial]
    sides = [side.dim_value for side in inputs[0].type.tensor_type.shape.dim[2:]] if inputs else []
    if len(sides) != 2 or sides[0] != sides[1] or not 8 <= sides[0] <= _LARGEST_SIDE:
        return TORCHVISION
    crop = sides[0]
    return replace(
        TORCHVISION, resize=round(crop * TORCHVISION.resize / TORCHVISION.crop), crop=crop
    )


def _named(graph: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by all their names: exporters merge small tensors that are equal.

    A layer whose weight is merged with an earlier one's is known by its bias, and vice versa.
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


def _state(described: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors by their names, with 0 for those that exporters leave out.

    Exporters leave out all-zero biases, and auxiliary classifiers that are only for training.
    """
    *_, last, _ = shapes_of(described, classes=1)
    classes = next(iter(tensors[last].shape), 1) if last in tensors else 1
    expected = shapes_of(described, classes)
    left_out = {
        name: torch.zeros(()).expand(shape)
        for name, shape in expected.items()
        if name not in tensors and (name.endswith(".bias") or name.startswith("heads."))
    }
    state = {name: tensors[name] for name in expected if name in tensors} | left_out
    check_shapes(described.network, state, expected)
    return {name: state[name].float().contiguous() for name in expected}


def _layers(graph: Any, tensors: Mapping[str, Tensor]) -> tuple[Layers, dict[str, Any]]:
    """Weight and bias of each layer in the graph's order, and how the last convolution is padded."""
    layers: dict[str, tuple[Tensor, Tensor]] = {}
    fields: dict[str, Any] = dict(TORCHVISION_FIELDS)
    for node in graph.node:
        held = [name for name in node.input if name in tensors]
        if node.op_type not in ("Conv", "Gemm") or not held:
            continue
        attributes = {entry.name: entry for entry in node.attribute}
        weight = tensors[held[0]]
        if node.op_type == "Gemm" and not ("transB" in attributes and attributes["transB"].i):
            weight = weight.t() if weight.dim() == 2 else weight
        # Exporters leave out a bias that is 0 everywhere.
        bias = tensors[held[1]] if len(held) > 1 else torch.zeros(weight.shape[:1])
        name = held[0].removesuffix(".weight")
        # Layers may share a weight.
        layers[name if name not in layers else f"{name} of layer {len(layers) + 1}"] = weight, bias
        if node.op_type == "Conv":
            pads = attributes["pads"].ints if "pads" in attributes else ()
            fields = {"conv10_padding": pads[0] if pads else 0}
    return layers, fields


def _read_beside(tensor: Any, path: Path) -> Any:
    """The TensorProto with its bytes in it, which may have been in another file.

    Args:
        path: of the ONNX file. Files that it names are only read from its own folder.

    Raises:
        UserError: a path outside the folder, a link, no such file, or one that is too short.
    """
    from onnx import TensorProto

    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{tensor.name} of {path} lies in '{entries.get('location', '')}'"
    beside = _beside(path.parent, entries.get("location", ""), where)
    whole = TensorProto()
    whole.CopyFrom(tensor)
    whole.ClearField("external_data")
    whole.data_location = TensorProto.DEFAULT
    whole.raw_data = _bytes(beside, entries, _size_bytes(tensor), where)
    return whole


def _beside(folder: Path, location: str, where: str) -> Path:
    """The file below the folder."""
    parts = PurePosixPath(location).parts
    outside = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    if not parts or outside or ".." in parts or "\0" in location:
        raise UserError(f"{where}; expected a file in the same folder")
    beside = folder / location
    if any(folder.joinpath(*parts[: k + 1]).is_symlink() for k in range(len(parts))):
        raise UserError(f"{where}, which is a link; expected the file itself in the same folder")
    if not beside.is_file():
        raise UserError(f"{where}, and there is no such file; copy it there too")
    return beside


def _bytes(beside: Path, entries: dict[str, str], needed: int, where: str) -> bytes:
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError as error:
        raise UserError(f"{where} at a place that is damaged: {error}") from error
    if length != needed or offset < 0:
        raise UserError(f"{where}, {length:,} bytes from {offset:,} on; its shape takes {needed:,}")
    try:
        with open(os.open(beside, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            held = os.fstat(file.fileno()).st_size
            if held < offset + needed:
                raise UserError(
                    f"{where}, which has {held:,} bytes; expected {offset + needed:,} or more"
                )
            file.seek(offset)
            return file.read(needed)
    except OSError as error:
        raise UserError(f"{where}, which cannot be read: {error.strerror}") from error


def _size_bytes(tensor: Any) -> int:
    """The bytes that a tensor's shape and type take."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)
