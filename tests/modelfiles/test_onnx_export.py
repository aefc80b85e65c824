"""An exported model answers as the original, in onnxruntime, and is read again with all it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import V1_0, V1_1, needs_weights

from firetree import models
from firetree.modelfiles import Model, Preprocessing, load_model, onnx_export
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import keep_exactly
from firetree.prediction.backends import start

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


def same_answers(model: Model, batch: int) -> None:
    crop, channels = model.preprocessing.crop, len(model.preprocessing.mean)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (batch, crop, crop, channels), np.uint8)
    x_BCHW = model.preprocessing.normalise(pixels)
    answers = [start(backend, model)(x_BCHW) for backend in ("torch", "onnxruntime")]
    torch.testing.assert_close(*answers, rtol=0, atol=1e-4)


@needs_weights
@pytest.mark.parametrize("path", [V1_0, V1_1])
def test_onnxruntime_answers_as_torch_does(path: Path) -> None:
    same_answers(load_model(path), batch=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fields"),
    [
        ("squeezenet_small", {"squeeze_ratio": 0.5, "bypass": "complex"}),
        ("nin", {}),
        ("googlenet", {}),
        ("alexnet", {}),
    ],
)
def test_an_exported_file_of_any_network_is_read_again(
    tmp_path: Path, network: str, fields: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    built = models.build(network, classes=3, channels=3, size=16, **fields)
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * 3, (64.0,) * 3)
    model = Model(network, dict(built.state_dict()), preprocessing, fields)
    (tmp_path / "model.onnx").write_bytes(onnx_export.as_onnx(model))
    again = load_model(tmp_path / "model.onnx")
    assert (again.network, again.fields) == (network, fields)
    x_BCHW = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.build()(x_BCHW), model.build()(x_BCHW))


def test_equal_tensors_that_an_exporter_merges_are_found_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = dict(models.build("squeezenet_small", classes=3, channels=3, size=16).state_dict())
    for layer in ("fire2.squeeze1x1", "fire3.squeeze1x1"):
        state[f"{layer}.bias"] = torch.full_like(state[f"{layer}.bias"], 0.5)
    state["fire3.expand1x1.weight"] = state["fire2.expand1x1.weight"].clone()
    for layer in ("fire2.expand1x1", "fire3.expand1x1"):
        state[f"{layer}.bias"] = torch.randn_like(state[f"{layer}.bias"])
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * 3, (64.0,) * 3)
    (tmp_path / "model.onnx").write_bytes(
        onnx_export.as_onnx(Model("squeezenet_small", state, preprocessing))
    )
    again = load_model(tmp_path / "model.onnx").state
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_an_exported_file_is_read_with_all_it_tells_and_answers_as_a_fire_of_it(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    state = models.build(
        "squeezenet_v1_0", classes=3, channels=1, size=100, conv10_padding=0
    ).state_dict()
    preprocessing = Preprocessing(128, True, 100, "RGB", (128.0,), (64.0,))
    model = Model(
        "squeezenet_v1_0", dict(state), preprocessing, {"conv10_padding": 0}, ("a", "b", "c")
    )
    (tmp_path / "model.onnx").write_bytes(onnx_export.as_onnx(model))
    again = load_model(tmp_path / "model.onnx")
    assert (again.network, again.fields) == ("squeezenet_v1_0", {"conv10_padding": 0})
    assert (again.preprocessing, again.classes) == (preprocessing, ("a", "b", "c"))
    assert all(torch.equal(again.state[name], tensor) for name, tensor in state.items())
    fire = tmp_path / "model.fire"
    fire.write_bytes(write(keep_exactly(again)))
    same_answers(load_model(fire), batch=1)
