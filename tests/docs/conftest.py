"""What documentation takes for granted: a run, files of weights, images, texts and a plan, made once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import firetree
from firetree import models
from firetree.modelfiles import TORCHVISION, as_safetensors

SHIM = f"""#!/bin/sh
# The command as documented; a training without a number of steps or epochs takes two steps.
case "$*" in
  *"train "*--optim.*) ;;
  train\\ *) set -- "$@" --optim.steps 2 ;;
esac
exec {sys.executable} -m firetree "$@"
"""


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which a shell finds `firetree`."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "firetree"
    path.write_text(SHIM)
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run = firetree.train(
        "digits", workers=2, run_dir=folder / "runs" / "demo", fields={"optim.epochs": 2}
    )
    for name in ("mine", "one", "other"):
        shutil.copytree(run, folder / "runs" / name)
    firetree.compress(run, folder / "small.fire", bits=6)
    firetree.decompress(folder / "small.fire", folder / "net.safetensors")
    torch.manual_seed(0)
    state = models.build("squeezenet_v1_1", classes=4, channels=3, size=224).state_dict()
    whole = firetree.Model("squeezenet_v1_1", state, TORCHVISION)
    (folder / "squeezenet_v1_1.safetensors").write_bytes(as_safetensors(whole))
    (folder / "names.txt").write_text("cat\ndog\neel\nfox\n")
    (folder / "texts").mkdir()
    for name in ("one", "two"):
        (folder / "texts" / f"{name}.txt").write_text(f"Once upon a time, {name} was here.\n" * 40)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photographs" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (80, 80, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photographs" / name / f"{number}.png")
    plan = firetree.plan(nn.Linear(8, 2), "2 x 1gbit", example=torch.zeros(4, 8)).plan
    (folder / "plan.json").write_text(plan.to_json())
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was made, in which the test runs."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder
