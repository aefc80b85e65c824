"""Published weights in every format give the same networks, and damaged files one clear line."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import PLACES, fresh, torchvisions
from PIL import Image
from published_files import V1_0, V1_1, needs_weights
from safetensors.torch import save_file
from torch import Tensor

from firetree import models
from firetree.errors import UserError
from firetree.modelfiles import Model, Preprocessing, as_safetensors, load_model
from firetree.modelfiles.model import check, metadata
from firetree.modelfiles.preprocessing import CAFFE, TORCHVISION


@needs_weights
@pytest.mark.parametrize(
    ("path", "network", "parameters"),
    [(V1_0, "squeezenet_v1_0", 1_248_424), (V1_1, "squeezenet_v1_1", 1_235_496)],
)
def test_the_published_files_are_recognised(path: Path, network: str, parameters: int) -> None:
    model = load_model(path)
    assert model.network == network
    assert model.preprocessing == CAFFE
    assert models.parameter_count(model.build()) == parameters
    assert model.class_names[999] == "class 999"


@pytest.mark.parametrize("network", PLACES)
def test_torchvisions_squeezenets_are_read_from_pth(tmp_path: Path, network: str) -> None:
    torch.save(torchvisions(network), tmp_path / "weights.pth")
    model = load_model(tmp_path / "weights.pth")
    assert (model.network, model.preprocessing) == (network, TORCHVISION)
    expected = fresh(network)
    assert all(torch.equal(model.state[name], expected[name]) for name in expected)
    assert model.build().get_submodule("conv10").padding == (0, 0)


def test_torchvisions_alexnet_is_read_from_pth(tmp_path: Path) -> None:
    state = fresh("alexnet_one_tower", 224, 1000)
    assert sum(tensor.numel() for tensor in state.values()) == 61_100_840
    places = {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6"}
    places |= {"conv4": "features.8", "conv5": "features.10"}
    places |= {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
    renamed = {}
    for name, tensor in state.items():
        layer, _, kind = name.partition(".")
        renamed[f"{places[layer]}.{kind}"] = tensor
    torch.save(renamed, tmp_path / "alexnet.pth")
    model = load_model(tmp_path / "alexnet.pth")
    assert model.network == "alexnet_one_tower"
    assert torch.equal(model.state["fc8.weight"], state["fc8.weight"])


def test_a_model_survives_its_own_safetensors_with_preprocessing_and_classes(
    tmp_path: Path,
) -> None:
    preprocessing = Preprocessing(32, True, 32, "RGB", (128.0,), (64.0,))
    state = models.build("squeezenet_small", classes=3, channels=1, size=32).state_dict()
    model = Model("squeezenet_small", dict(state), preprocessing, {"dropout": 0.1}, ("a", "b", "ü"))
    (tmp_path / "ours.safetensors").write_bytes(as_safetensors(model))
    again = load_model(tmp_path / "ours.safetensors")
    assert list(again.state) == list(state)
    assert all(torch.equal(again.state[name], state[name]) for name in state)
    assert (again.preprocessing, again.fields, again.classes) == (
        preprocessing,
        {"dropout": 0.1},
        ("a", "b", "ü"),
    )


def small_model() -> Model:
    torch.manual_seed(0)
    state = models.build("squeezenet_small", classes=3, channels=3, size=16).state_dict()
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * 3, (64.0,) * 3)
    return Model("squeezenet_small", dict(state), preprocessing)


def write_onnx(
    path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str], pads: list[int]
) -> None:
    """A file with these tensors, the first two of them a convolution's."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    names = [*tensors][:2]
    node = onnx.helper.make_node("Conv", ["x", *names], ["y"])
    node.attribute.append(
        onnx.helper.make_attribute("pads", pads, attr_type=onnx.AttributeProto.INTS)
    )
    held = [onnx.numpy_helper.from_array(one.numpy(), name) for name, one in tensors.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "", [], [], held))
    onnx.helper.set_model_props(model, dict(told))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".onnx"])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, suffix: str, number: float
) -> None:
    path = tmp_path / f"model{suffix}"
    model = small_model()
    model.state["fire3.expand1x1.bias"][2] = number
    match suffix:
        case ".safetensors":
            path.write_bytes(as_safetensors(model))
        case ".onnx":
            write_onnx(path, model.state, metadata(model), [0])
        case _:
            state = torchvisions("squeezenet_v1_1")
            state["features.4.expand1x1.bias"][2] = number
            torch.save(state, path)
    with pytest.raises(UserError, match=r"fire3\.expand1x1\.bias holds NaN or infinity"):
        load_model(path)


def test_as_many_class_names_as_classes_are_expected(tmp_path: Path) -> None:
    model = replace(small_model(), classes=("a", "b"))
    (tmp_path / "ours.safetensors").write_bytes(as_safetensors(model))
    with pytest.raises(UserError, match="names 2 classes; expected 3"):
        load_model(tmp_path / "ours.safetensors")


def test_channels_without_a_mean_of_their_own_are_refused(tmp_path: Path) -> None:
    grey = Preprocessing(16, True, 16, "RGB", (128.0,), (64.0,))
    content = as_safetensors(replace(small_model(), preprocessing=grey))
    (tmp_path / "ours.safetensors").write_bytes(content)
    with pytest.raises(
        UserError, match=r"\(48, 3, 3, 3\) for conv1.weight; expected \(48, 1, 3, 3\)"
    ):
        load_model(tmp_path / "ours.safetensors")


@pytest.mark.parametrize(
    ("size", "fields"), [(4096, {"base_e": 1024}), (2048, {"base_e": 4096, "squeeze_ratio": 0.001})]
)
def test_images_too_large_for_any_memory_are_refused(
    tmp_path: Path, size: int, fields: dict[str, float]
) -> None:
    state = models.build(
        "squeezenet_small", classes=3, channels=3, size=size, **fields
    ).state_dict()
    preprocessing = Preprocessing(size, True, size, "RGB", (128.0,) * 3, (64.0,) * 3)
    model = Model("squeezenet_small", dict(state), preprocessing, fields)
    (tmp_path / "ours.safetensors").write_bytes(as_safetensors(model))
    with pytest.raises(UserError, match=f"filters for images of {size} pixels a side"):
        load_model(tmp_path / "ours.safetensors")


def test_images_of_many_pixels_are_no_reason_to_refuse() -> None:
    large = Preprocessing(1024, True, 1024, "RGB", (128.0,) * 3, (64.0,) * 3)
    check(Model("squeezenet_v1_1", fresh("squeezenet_v1_1"), large))


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "two\nlines", "half \ud800"])
def test_class_names_that_steer_a_terminal_are_refused(tmp_path: Path, name: str) -> None:
    content = as_safetensors(replace(small_model(), classes=(name, "b", "c")))
    (tmp_path / "ours.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="class names with signs that steer a terminal"):
        load_model(tmp_path / "ours.safetensors")


def test_a_layer_numbered_by_no_digits_is_refused(tmp_path: Path) -> None:
    save_file({"conv\u00b2/x.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("weight", "bias", "pads"),
    [
        (torch.zeros(4, 3, 3, 3), torch.tensor(1.0), [0]),
        (torch.tensor(1.0), torch.zeros(4), [0]),
        (torch.tensor(1.0), None, [0]),
        (torch.zeros(4, 3, 3, 3), torch.zeros(4), []),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_tensors_that_no_layer_has_are_refused(
    tmp_path: Path, suffix: str, weight: Tensor, bias: Tensor | None, pads: list[int]
) -> None:
    path = tmp_path / f"model{suffix}"
    tensors = {"conv1.weight": weight} | ({} if bias is None else {"conv1.bias": bias})
    if suffix == ".onnx":
        write_onnx(path, tensors, {}, pads)
    else:
        save_file(tensors, path)
    with pytest.raises(UserError, match="holds 1 layers that are none of squeezenet_v1_0"):
        load_model(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
@pytest.mark.parametrize("tensor", [torch.tensor(1.0), torch.zeros(0, 240, 1, 1)])
def test_a_described_model_with_tensors_of_another_shape_is_refused(
    tmp_path: Path, suffix: str, tensor: Tensor
) -> None:
    path, model = tmp_path / f"model{suffix}", small_model()
    model.state["conv10.weight"] = tensor
    model.state["conv10.bias"] = tensor.clone()
    if suffix == ".onnx":
        write_onnx(path, model.state, metadata(model), [0])
    else:
        path.write_bytes(as_safetensors(model))
    with pytest.raises(UserError):
        load_model(path)


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="no file that cannot be read")
def test_a_net_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.net").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=r"the .net .*model\.net cannot be read: "):
        load_model(tmp_path / "model.net")


@pytest.mark.parametrize(
    "told",
    [
        {"firetree": "{}"},
        {"firetree": "{"},
        {"firetree": "[" * 100_000},
        {"firetree": "{}", "classes": "5"},
        {"firetree": "{}", "classes": "[5]"},
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, told: dict[str, str]) -> None:
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "ours.safetensors", told)
    with pytest.raises(UserError, match="description"):
        load_model(tmp_path / "ours.safetensors")


class Runs:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("open('ran', 'w')",)


def test_a_pickle_that_would_run_a_command_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.pth").write_bytes(pickle.dumps({"conv1.weight": Runs()}))
    torch.save({"conv1.weight": Runs()}, "worse.pth")
    for name in ("bad.pth", "worse.pth"):
        with pytest.raises(UserError, match=f"cannot read {name}"):
            load_model(Path(name))
    assert not Path("ran").exists()


@needs_weights
@pytest.mark.parametrize("path", [V1_0, V1_1])
def test_a_file_that_is_cut_off_or_changed_gives_a_clear_error_or_a_model(
    tmp_path: Path, path: Path
) -> None:
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for k in range(40):
        damaged = bytearray(content)
        if k % 4 == 0:
            del damaged[int(random.integers(len(damaged))) :]
        else:
            # Counts and headers stand in front, so half of the changes are made there.
            place = int(random.integers(2000 if k % 2 else len(damaged)))
            damaged[place] ^= 1 << int(random.integers(8))
        target = tmp_path / f"damaged{path.suffix}"
        target.write_bytes(damaged)
        with contextlib.suppress(UserError):
            load_model(target).build()


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.net", "no file no.net"), ("what.txt", "'.txt' of what.txt; expected one of")],
)
def test_what_is_no_model_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("what.txt").write_text("weights")
    with pytest.raises(UserError, match=re.escape(message)):
        load_model(Path(name))


def test_layers_of_no_network_of_ours_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds 1 layers that are none of squeezenet_v1_0"):
        load_model(tmp_path / "other.safetensors")


def test_squash_gives_up_proportions_and_bgr_turns_channels_round() -> None:
    image = Image.new("RGB", (300, 100), (10, 20, 30))
    assert CAFFE.apply(image).shape == (227, 227, 3)
    assert CAFFE.apply(image)[0, 0].tolist() == [30, 20, 10]
    assert TORCHVISION.apply(image)[0, 0].tolist() == [10, 20, 30]
    x_BCHW = CAFFE.normalise(CAFFE.apply(image)[None])
    assert x_BCHW[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_the_centre_is_cut_as_if_the_whole_had_been_scaled() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (30, 40, 3), np.uint8)
    image = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    whole = image.resize((round(640 * 256 / 480), 256), Image.Resampling.BILINEAR)
    left, top = (whole.width - 224) // 2, (256 - 224) // 2
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
    difference = np.abs(TORCHVISION.apply(image).astype(int) - expected.astype(int))
    assert difference.mean() < 1
