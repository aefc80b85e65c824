"""ResNets and MobileNets are read by torchvision's names, with the statistics of their normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import fresh
from safetensors.torch import save_file
from torch import Tensor

from firetree.deep_compression.share import prune_and_share
from firetree.errors import UserError
from firetree.modelfiles import TORCHVISION, Model, as_safetensors, load_model
from firetree.modelfiles.fire.fire import read, write
from firetree.modelfiles.fire.shared import keep_exactly
from firetree.models.families import NORMALISED


def published(network: str, size: int = 224, channels: int = 3) -> dict[str, Tensor]:
    """Fresh weights, with statistics that no fresh network has."""
    state = fresh(network, size, channels=channels)
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return state


def loaded(folder: Path, state: dict[str, Tensor]) -> Model:
    torch.save(state, folder / "weights.pth")
    return load_model(folder / "weights.pth")


@pytest.mark.parametrize("network", NORMALISED)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_by_torchvisions_names(tmp_path: Path, network: str, suffix: str) -> None:
    state, path = published(network), tmp_path / f"weights{suffix}"
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(prefixed, path) if suffix == ".pth" else save_file(prefixed, path)
    model = load_model(path)
    assert (model.network, model.class_count, model.preprocessing) == (network, 10, TORCHVISION)
    assert not any("left out" in note for note in model.notes)
    ours = model.build().state_dict()
    assert list(ours) == list(state)
    assert all(torch.equal(ours[n], t) for n, t in state.items() if "num_batches" not in n)


def test_files_from_before_torch_counted_batches_are_read(tmp_path: Path) -> None:
    state = published("resnet18")
    early = {name: it for name, it in state.items() if not name.endswith("num_batches_tracked")}
    assert loaded(tmp_path, early).state.keys() == early.keys()


def test_statistics_are_no_parameters(tmp_path: Path) -> None:
    assert "11,181,642 parameters" in repr(loaded(tmp_path, published("resnet18")))


def test_small_images_have_another_first_layer(tmp_path: Path) -> None:
    model = loaded(tmp_path, published("resnet18", size=32, channels=1))
    assert (model.preprocessing.crop, len(model.preprocessing.mean)) == (32, 1)


@pytest.mark.parametrize("layer", ["layer1.2.conv1", "layer3.6.conv1", "layer1.0.se"])
def test_a_layer_too_many_is_another_resnet(tmp_path: Path, layer: str) -> None:
    state = published("resnet18") | {f"{layer}.weight": torch.zeros(64, 64, 3, 3)}
    with pytest.raises(UserError, match=r"none of .* resnet18, .*; it looks like a ResNet"):
        loaded(tmp_path, state)


def test_a_model_survives_its_own_safetensors(tmp_path: Path) -> None:
    model = replace(loaded(tmp_path, published("mobilenet_v3_small")), classes=tuple("abcdefghij"))
    (tmp_path / "ours.safetensors").write_bytes(as_safetensors(model))
    again = load_model(tmp_path / "ours.safetensors")
    assert again.classes == model.classes
    assert list(again.state) == list(model.state)
    x_BCHW = torch.randn(2, 3, 224, 224)
    assert torch.equal(again.build()(x_BCHW), model.build()(x_BCHW))


@pytest.mark.parametrize("bits", [None, 6])
def test_a_model_survives_a_fire(tmp_path: Path, bits: int | None) -> None:
    model = loaded(tmp_path, published("mobilenet_v3_small"))
    compressed = keep_exactly(model) if bits is None else prune_and_share(model, 1.0, bits)
    expected, again = compressed.expand(), read(write(compressed)).expand()
    assert list(again.state) == list(model.state)
    assert all(torch.equal(again.state[name], it) for name, it in expected.state.items())
    x_BCHW = torch.randn(2, 3, 224, 224)
    error = again.build()(x_BCHW) - model.build()(x_BCHW)
    assert float(error.norm()) <= (0.2 if bits else 0) * float(model.build()(x_BCHW).norm())


@pytest.mark.slow
def test_onnx_answers_as_torch_does_and_is_refused_as_a_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from firetree.modelfiles.onnx_export import as_onnx
    from firetree.prediction.backends import start

    model = loaded(tmp_path, published("resnet18", size=32))
    small = replace(TORCHVISION, resize=32, crop=32)
    model = replace(model, preprocessing=small)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    answers = [start(it, model)(small.normalise(pixels)) for it in ("torch", "onnxruntime")]
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-4)
    (tmp_path / "model.onnx").write_bytes(as_onnx(model))
    with pytest.raises(UserError, match="is resnet18, whose ONNX is not read yet; expected"):
        load_model(tmp_path / "model.onnx")
