"""Weights as others save them are read, and what is no weights is named by what it is."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import fresh, torchvisions
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree import models
from firetree.errors import UserError
from firetree.modelfiles import Model, as_safetensors, load_model

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return torchvisions("squeezenet_v1_1")


def loaded(folder: Path, held: object, name: str = "weights.pth") -> Model:
    torch.save(held, folder / name)
    return load_model(folder / name)


def same(model: Model, state: State) -> bool:
    return all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(model.state.values(), state.values(), strict=True)
    )


def behind(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model.", "net.", "backbone.", "_orig_mod.module."),
        *("module._orig_mod.", "model.module.net._orig_mod.", "squeeze.of.mine."),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_stands_before_all_names_is_left_out(
    tmp_path: Path, state: State, suffix: str, prefix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(behind(prefix, state), path)
    else:
        save_file(behind(prefix, state), path)
    model = load_model(path)
    assert same(model, state)
    assert model.network == "squeezenet_v1_1"
    assert not any("left out" in note for note in model.notes)


@pytest.mark.parametrize("network", ["squeezenet_v1_0", "squeezenet_v1_1"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_classes_and_channels_are_those_of_the_file(
    tmp_path: Path, network: str, classes: int, channels: int
) -> None:
    model = loaded(tmp_path, behind("module.", torchvisions(network, classes, channels)))
    assert (model.network, model.class_count) == (network, classes)
    assert model.build()(model.example()).shape == (1, classes)
    assert len(model.preprocessing.mean) == channels
    if channels == 1:
        assert model.preprocessing.mean[0] == pytest.approx(116.9, abs=0.5)


def test_other_channels_than_grey_and_colour_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"weights\.pth: the first layer reads 4 channels; expected"
    ):
        loaded(tmp_path, torchvisions("squeezenet_v1_1", channels=4))


def test_a_module_that_is_wrapped_within_is_read(tmp_path: Path, state: State) -> None:
    """PyTorch's ImageNet example puts DataParallel around an AlexNet's features alone."""
    inner = {name.replace("features.", "features.module."): t for name, t in state.items()}
    assert same(loaded(tmp_path, inner), state)


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "net", "ema", "model_ema", "anything"]
)
def test_weights_within_a_checkpoint_are_found(tmp_path: Path, state: State, key: str) -> None:
    checkpoint = {"epoch": 3, key: behind("module.", state), "best": torch.tensor(1.0)}
    assert same(loaded(tmp_path, checkpoint), state)


def test_the_checkpoint_of_pytorchs_imagenet_example_is_read(tmp_path: Path, state: State) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1, momentum=0.9)
    checkpoint = {
        "epoch": 3,
        "arch": "squeezenet1_1",
        "state_dict": behind("module.", state),
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 30).state_dict(),
    }
    assert same(loaded(tmp_path, checkpoint, "checkpoint.pth.tar"), state)


def test_a_checkpoint_of_lightning_is_read(tmp_path: Path, state: State) -> None:
    own = behind("model._orig_mod.", state) | {
        "criterion.weight": torch.ones(10),
        "accuracy.total": torch.tensor(4),
    }
    checkpoint = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": own,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": []}],
        "hyper_parameters": {"lr": 0.1, "path": Path("data"), "args": argparse.Namespace(a=1)},
    }
    model = loaded(tmp_path, checkpoint, "last.ckpt")
    assert same(model, state)
    assert "left out 2 tensors that squeezenet_v1_1 lacks: criterion.weight, accuracy.total" in (
        model.notes
    )


class Options:
    """Of a script that cannot be imported here any more."""


def test_a_checkpoint_of_timm_is_read_and_its_average_named(tmp_path: Path, state: State) -> None:
    checkpoint = {
        "arch": "squeezenet",
        "state_dict": state,
        "state_dict_ema": {name: tensor + 1 for name, tensor in state.items()},
        "args": argparse.Namespace(lr=0.1),
        "config": Options(),
        "metric": np.float64(71.5),
    }
    model = loaded(tmp_path, checkpoint)
    assert same(model, state)
    assert "took 'state_dict', not 'state_dict_ema'" in model.notes


def test_one_of_two_networks_is_taken_and_said(tmp_path: Path, state: State) -> None:
    teacher = {name: tensor + 1 for name, tensor in state.items()}
    model = loaded(tmp_path, behind("student.", state) | behind("their_teacher.", teacher))
    assert same(model, state)
    assert "took 'student.', not 'their_teacher.'" in model.notes


@pytest.mark.parametrize("name", ["squeezenet_small", "squeezenet_v1_0", "squeezenet_v1_1", "nin"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_our_own_networks_are_read_from_a_script_of_theirs(
    tmp_path: Path, suffix: str, name: str
) -> None:
    own = fresh(name, classes=4, channels=1)
    path = tmp_path / f"weights{suffix}"
    torch.save(behind("module.", own), path) if suffix == ".pth" else save_file(
        behind("module.", own), path
    )
    model = load_model(path)
    assert model.network == name
    assert all(torch.equal(model.state[key], own[key]) for key in own)
    assert any("assumed: the shorter side to" in note for note in model.notes)


def test_batch_normalisation_of_ours_is_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    built = models.build("squeezenet_small", classes=4, channels=3, size=32, batch_norm=True)
    built(torch.randn(8, 3, 32, 32))
    model = loaded(tmp_path, behind("_orig_mod.", built.state_dict()))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.build()(x), built.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_width_are_read(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    model = loaded(tmp_path, {name: tensor.to(dtype) for name, tensor in state.items()})
    expected = {name: tensor.to(dtype).float() for name, tensor in state.items()}
    assert same(model, expected)


def test_tensors_that_share_memory_or_lie_across_it_are_read(tmp_path: Path, state: State) -> None:
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    parts = dict(zip(state, torch.split(flat, [t.numel() for t in state.values()]), strict=True))
    views = {name: parts[name].view_as(tensor) for name, tensor in state.items()}
    across = views["features.3.squeeze.weight"].transpose(0, 1).contiguous().transpose(0, 1)
    views["features.3.squeeze.weight"] = nn.Parameter(across)
    model = loaded(tmp_path, views)
    assert same(model, state)
    (tmp_path / "again.safetensors").write_bytes(as_safetensors(model))
    assert same(load_model(tmp_path / "again.safetensors"), state)


def test_weights_in_whole_numbers_are_refused_by_name(tmp_path: Path, state: State) -> None:
    quantised = {name: (100 * tensor).to(torch.int8) for name, tensor in state.items()}
    with pytest.raises(
        UserError, match=r"pth: features\.0\.weight holds int8, .*before it is quant"
    ):
        loaded(tmp_path, quantised)


def test_a_layer_too_many_makes_another_network(tmp_path: Path, state: State) -> None:
    with pytest.raises(UserError, match=r"with batch normalisation \(features\.1\.running_mean\)"):
        loaded(tmp_path, state | {"features.1.running_mean": torch.zeros(64)})


def test_a_layer_of_another_shape_is_named_with_the_nearest_network(
    tmp_path: Path, state: State
) -> None:
    other = state | {"features.4.squeeze.weight": torch.zeros(17, 128, 1, 1)}
    message = (
        r"features\.4\.squeeze\.weight is \(17, 128, 1, 1\), in squeezenet_v1_1 \(16, 128, 1, 1\)"
    )
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, {"state_dict": other})


def test_a_script_with_ddp_saves_what_every_command_reads(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        net = models.build("squeezenet_v1_1", classes=10, channels=3, size=224)
        save_file(DistributedDataParallel(net).state_dict(), tmp_path / "mine.safetensors")
    finally:
        torch.distributed.destroy_process_group()
    model = load_model(tmp_path / "mine.safetensors")
    assert all(torch.equal(model.state[n], t) for n, t in net.state_dict().items())


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        for name in names:
            held.writestr(name, b"x")
    return file.getvalue()


def pickled(held: object) -> bytes:
    file = io.BytesIO()
    torch.save(held, file)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    return file.getvalue()


STRANGERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a module": (
        lambda: pickled(nn.Linear(2, 2)),
        "pickled object, torch.nn.modules.linear.Linear",
    ),
    "a module within": (lambda: pickled({"model": nn.ReLU()}), "torch.nn.modules.activation.ReLU"),
    "an optimizer": (
        lambda: pickled(torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()),
        "an optimizer's state without a model",
    ),
    "an optimizer within": (
        lambda: pickled({"optimizer": torch.optim.SGD([torch.ones(1)]).state_dict(), "epoch": 1}),
        "an optimizer's state without a model",
    ),
    "a list": (lambda: pickled([torch.zeros(2)]), "holds no state dict, but a list"),
    "numbers": (lambda: pickled({"epoch": 1}), "holds no state dict, but 'epoch'"),
    "TorchScript": (scripted, "is a TorchScript archive"),
    "Keras": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(600), "is HDF5, as Keras writes it"),
    "new Keras": (lambda: archive("config.json", "model.weights.h5"), "is a Keras model"),
    "npz": (npz, "is a NumPy archive"),
    "GGUF": (lambda: b"GGUF" + bytes(600), "is a GGUF of llama.cpp"),
    "TFLite": (lambda: b"\x1c\0\0\0TFL3" + bytes(600), "is a TensorFlow Lite model"),
    "a pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    "a page": (lambda: b"<!DOCTYPE html><html>", "is a web page"),
    "nothing": (lambda: b"", "is empty"),
    "ResNet": (
        lambda: pickled({"module.layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}),
        r"like a ResNet (module.layer1.0.conv1.weight)",
    ),
    "LoRA": (
        lambda: pickled({"base_model.q_proj.lora_A.weight": torch.zeros(4, 4)}),
        "adapters of a LoRA",
    ),
    "transformer": (
        lambda: pickled({"encoder.layer.0.attention.self.query.weight": torch.zeros(4, 4)}),
        "a language model",
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ".bin"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_not_read_is_named_by_its_content(
    tmp_path: Path, kind: str, suffix: str, recwarn: pytest.WarningsRecorder
) -> None:
    make, message = STRANGERS[kind]
    (tmp_path / f"x{suffix}").write_bytes(make())
    recwarn.clear()
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        load_model(tmp_path / f"x{suffix}")
    assert "\n" not in str(refusal.value)
    assert f"x{suffix}" in str(refusal.value)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".safetensors", ""])
def test_a_file_is_read_by_its_content_whatever_its_name(
    tmp_path: Path, state: State, suffix: str
) -> None:
    torch.save(state, tmp_path / f"weights{suffix}")
    save_file(state, tmp_path / f"other{suffix}")
    assert same(load_model(tmp_path / f"weights{suffix}"), state)
    assert same(load_model(tmp_path / f"other{suffix}"), state)


def test_a_legacy_file_with_options_is_read(tmp_path: Path, state: State) -> None:
    held = {"state_dict": state, "args": argparse.Namespace(lr=0.1)}
    torch.save(held, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_model(tmp_path / "old.pth"), state)


class Runs:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("open('ran', 'w')",)


def test_code_beside_weights_is_left_out_and_never_run(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert same(loaded(tmp_path, {"state_dict": state, "callback": Runs()}), state)
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"state_dict": Runs()}))
    with pytest.raises(UserError, match=r"cannot read .*raw\.pth"):
        load_model(tmp_path / "raw.pth")
    assert not Path("ran").exists()


def test_a_byte_that_has_changed_is_noticed(tmp_path: Path, state: State) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pth is damaged: weights/data/\d+ has another checksum"):
        load_model(path)


def test_weights_come_before_their_average_whatever_is_longer(tmp_path: Path, state: State) -> None:
    average = {name: tensor + 1 for name, tensor in state.items()}
    held = behind("ema_model.", average) | behind("online_model.", state)
    assert same(loaded(tmp_path, held), state)


def test_a_layer_without_its_bias_is_named(tmp_path: Path, state: State) -> None:
    held = {name: tensor for name, tensor in state.items() if not name.endswith("bias")}
    message = r"features\.0\.bias is missing, in squeezenet_v1_1 \(64,\)"
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, held)


def test_tensors_without_values_are_refused_by_name(tmp_path: Path, state: State) -> None:
    with pytest.raises(UserError, match=r"features\.0\.weight has a shape and no values"):
        loaded(tmp_path, {name: tensor.to("meta") for name, tensor in state.items()})


def test_a_newer_pickle_is_named_so(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "weights.pth", pickle_protocol=4)
    with pytest.raises(UserError, match="pickled by a protocol above 2"):
        load_model(tmp_path / "weights.pth")
