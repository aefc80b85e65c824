"""What a script saves of its own DDP model goes through every command about models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command import firetree
from PIL import Image
from safetensors.torch import save_file

from firetree import models

NOTE = (
    "it does not say how images are prepared; assumed: the shorter side to 32 pixels, the 32 in the "
    "centre, RGB, mean 123.675 116.28 103.53, deviation 58.395 57.12 57.375 of 255\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mine.safetensors` and a folder of images with a folder a class."""
    folder = tmp_path_factory.mktemp("others")
    torch.manual_seed(0)
    net = models.build("squeezenet_small", classes=2, channels=3, size=32)
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    save_file(state, folder / "mine.safetensors")
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (40, 40), (90 * k, 0, 200)).save(folder / f"images/{name}/{k}.png")
    return folder


@pytest.mark.parametrize(
    ("command", "options", "output"),
    [
        ("predict", ["{images}/a/0.png"], "class 1"),
        ("inspect", [], "fire2.squeeze1x1"),
        ("compress", ["{out}.fire", "--bits", "4"], "times smaller"),
        ("export", ["{out}.onnx"], ""),
        ("scan", ["--images", "{images}"], "fire2.squeeze1x1"),
    ],
)
def test_each_command_takes_it_and_says_what_it_assumes(
    folder: Path, tmp_path: Path, command: str, options: list[str], output: str
) -> None:
    path = folder / "mine.safetensors"
    filled = [text.format(images=folder / "images", out=tmp_path / "out") for text in options]
    code, out, err = firetree(command, path, *filled)
    assert code == 0, err
    assert f"{path}: {NOTE}" in err
    assert output in out


def test_a_fire_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    fire = tmp_path / "small.fire"
    assert firetree("compress", folder / "mine.safetensors", fire, "--lossless")[0] == 0
    renamed = fire.rename(tmp_path / "download")
    code, out, err = firetree("predict", renamed, folder / "images/a/0.png", "--json")
    assert (code, err) == (0, "")
    assert len(json.loads(out)[0]["top5"]) == 2
    assert "entropy" in firetree("inspect", renamed)[1]
