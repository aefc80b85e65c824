"""ONNX as others write it: weights beside the file, in other types, as constants; never outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from layouts import fresh, torchvisions
from onnx_graphs import alexnet_one_tower, squeezenet_v1_1
from torch import Tensor

from firetree.errors import UserError
from firetree.modelfiles import Model, load_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
DATA = "net.onnx.data"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return torchvisions("squeezenet_v1_1")


def saved(folder: Path, made: Any) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def beside(folder: Path, state: dict[str, Tensor], **changed: str) -> Path:
    """With all tensors in `DATA`; the first one's place is changed."""
    folder.mkdir(exist_ok=True)
    made = squeezenet_v1_1(state)
    onnx.save(made, str(folder / "net.onnx"), save_as_external_data=True, location=DATA)
    made = onnx.load(str(folder / "net.onnx"), load_external_data=False)
    first = made.graph.initializer[0]
    for entry in first.external_data:
        entry.value = changed.get(entry.key, entry.value)
    return saved(folder, made)


def same(model: Model, state: dict[str, Tensor]) -> bool:
    pairs = zip(model.state.values(), state.values(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_weights_beside_a_file_are_read_from_any_folder(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(tmp_path / "one", state)
    beside(tmp_path / "other", {name: tensor + 1 for name, tensor in state.items()})
    monkeypatch.chdir(tmp_path / "other")
    assert same(load_model(Path("../one/net.onnx")), state)
    monkeypatch.chdir(tmp_path / "one")
    assert same(load_model(Path("net.onnx")), state)


def outside(folder: Path) -> Path:
    """The same bytes in another folder."""
    other = folder.parent / "outside.data"
    other.write_bytes((folder / DATA).read_bytes())
    return other


def link(folder: Path) -> None:
    other = outside(folder)
    (folder / DATA).unlink()
    (folder / DATA).symlink_to(other)


def linked_folder(folder: Path) -> None:
    outside(folder)
    (folder / "sub").symlink_to(folder.parent)


def fifo(folder: Path) -> None:
    (folder / DATA).unlink()
    os.mkfifo(folder / DATA)


@pytest.mark.parametrize(
    ("changed", "prepare", "message"),
    [
        ({"location": "../outside.data"}, outside, r"lies in '\.\./outside.*same folder"),
        ({"location": "sub/../../outside.data"}, outside, "expected a file in the same folder"),
        (
            {"location": "/etc/passwd"},
            outside,
            "lies in '/etc/passwd'; expected a file in the same",
        ),
        ({"location": "C:\\\\net.data"}, outside, "expected a file in the same folder"),
        ({"location": ""}, outside, "expected a file in the same folder"),
        ({"location": "none.data"}, outside, "'none.data', and there is no such file"),
        ({"location": "sub/outside.data"}, linked_folder, "which is a link"),
        ({}, link, "which is a link; expected the file itself"),
        ({}, fifo, "there is no such file"),
        ({}, lambda folder: (folder / DATA).unlink(), "there is no such file; copy it there too"),
        ({}, lambda folder: os.truncate(folder / DATA, 999), "which has 999 bytes; expected 6,912"),
        ({"offset": "999999999999"}, outside, "bytes; expected 1,000,000,006,911 or more"),
        ({"offset": "-4"}, outside, "6,912 bytes from -4 on; its shape takes 6,912"),
        ({"length": "12"}, outside, "12 bytes from 0 on; its shape takes 6,912"),
        ({"length": "many"}, outside, "at a place that is damaged"),
    ],
)
def test_a_place_that_is_not_in_the_folder_is_refused_with_tensor_and_file(
    tmp_path: Path,
    state: dict[str, Tensor],
    changed: dict[str, str],
    prepare: Callable[[Path], object],
    message: str,
) -> None:
    path = beside(tmp_path / "net", state, **changed)
    prepare(tmp_path / "net")
    with pytest.raises(UserError, match=message) as refusal:
        load_model(path)
    assert str(refusal.value).startswith(f"features.0.weight of {path} lies in ")


def test_more_beside_a_file_than_memory_allows_is_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = beside(tmp_path / "net", state)
    made = onnx.load(str(path), load_external_data=False)
    made.graph.initializer[0].dims[0] = 1 << 40
    with pytest.raises(UserError, match=r"has 118,747,.* bytes of tensors; expected at most 2 GiB"):
        load_model(saved(tmp_path / "net", made))


@pytest.mark.parametrize("kind", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_floats_of_any_width_are_read(tmp_path: Path, state: dict[str, Tensor], kind: Any) -> None:
    expected = {
        name: torch.from_numpy(tensor.numpy().astype(kind).astype(np.float32))
        for name, tensor in state.items()
    }
    assert same(load_model(saved(tmp_path, squeezenet_v1_1(state, kind))), expected)


def test_constants_casts_and_shared_biases_are_weights_too(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    made = squeezenet_v1_1(state, np.float16)
    graph = made.graph
    for one in list(graph.initializer):
        constant = onnx.helper.make_node("Constant", [], [f"{one.name}_half"], value=one)
        cast = onnx.helper.make_node("Cast", [f"{one.name}_half"], [one.name], to=1)
        graph.node.insert(0, cast)
        graph.node.insert(0, constant)
    del graph.initializer[:]
    expected = {name: tensor.half().float() for name, tensor in state.items()}
    assert same(load_model(saved(tmp_path, made)), expected)


@pytest.mark.parametrize("transposed", [True, False])
def test_a_matrix_may_lie_either_way(tmp_path: Path, transposed: bool) -> None:
    state = fresh("alexnet_one_tower", 224, classes=3)
    model = load_model(saved(tmp_path, alexnet_one_tower(state, transposed)))
    assert model.network == "alexnet_one_tower"
    assert same(model, state)


def test_images_are_as_large_as_the_graphs_input(tmp_path: Path, state: dict[str, Tensor]) -> None:
    model = load_model(saved(tmp_path, squeezenet_v1_1(state, side=227)))
    assert (model.preprocessing.resize, model.preprocessing.crop) == (259, 227)
    assert load_model(saved(tmp_path, squeezenet_v1_1(state))).preprocessing.crop == 224


@pytest.mark.parametrize(
    "kind",
    ["DynamicQuantizeLinear", "QuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"],
)
def test_a_quantised_file_is_named_so(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    made = squeezenet_v1_1(state)
    made.graph.node.insert(0, onnx.helper.make_node(kind, ["x"], ["y"]))
    with pytest.raises(UserError, match=rf"net\.onnx is quantised \({kind}\); expected the ONNX"):
        load_model(saved(tmp_path, made))


def test_a_graph_that_computes_its_weights_is_named_so(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["w"]),
        onnx.helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    held = [onnx.numpy_helper.from_array(np.array([64, 3, 3, 3]), "shape")]
    graph = onnx.helper.make_graph(nodes, "", [], [], held)
    with pytest.raises(UserError, match=r"computes its weights \(ConstantOfShape\)"):
        load_model(saved(tmp_path, onnx.helper.make_model(graph)))


@pytest.mark.parametrize("op", ["LeakyRelu", "Add", "Sub", "Clip", "Sigmoid"])
def test_operators_that_the_network_lacks_are_named(
    tmp_path: Path, state: dict[str, Tensor], op: str
) -> None:
    made = squeezenet_v1_1(state, side=224)
    made.graph.node.insert(0, onnx.helper.make_node(op, ["x"], ["y"]))
    with pytest.raises(UserError, match=rf"also computes {op}, which squeezenet_v1_1 does not"):
        load_model(saved(tmp_path, made))


def test_operators_of_other_domains_are_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    made = squeezenet_v1_1(state)
    made.graph.node[0].domain = "ai.onnx.ml"
    with pytest.raises(UserError, match="also computes Conv, which squeezenet_v1_1 does not"):
        load_model(saved(tmp_path, made))
