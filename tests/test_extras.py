"""The core trains, and what needs an extra says which one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

PACKAGES = {
    "images": {"PIL"},
    "parquet": {"pyarrow"},
    "pages": {"plotly", "jinja2", "PIL"},
    "tensorboard": {"tensorboard"},
    "onnx": {"onnx", "onnxscript", "onnxruntime"},
    "fast": {"simplejpeg", "numba"},
    "timm": {"timm"},
    "mpi": {"mpi4py"},
    "live": {"cloudpickle"},
    "private": {"cryptography"},
    "lightning": {"lightning"},
    "accelerate": {"accelerate"},
    "transformers": {"transformers", "accelerate"},
}
"""What is imported of each extra."""

WITHOUT_EXTRAS = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        missing = name.partition(".")[0] in {set().union(*PACKAGES.values())}
        return None if missing else super().find_spec(name, *rest)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def without_extras(code: str, *arguments: object, exit_code: int = 0) -> str:
    """What Python prints in a process to which no extra is installed."""
    command = [sys.executable, "-c", WITHOUT_EXTRAS + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr


def test_the_extras_are_those_that_the_project_declares() -> None:
    declared = PROJECT["optional-dependencies"]
    assert set(declared) == {*PACKAGES, "all", "dev"}
    for extra, packages in PACKAGES.items():
        names = {name.partition(">")[0].replace("Pillow", "PIL") for name in declared[extra]}
        assert names == packages


RUN = "from firetree.__main__ import main; main()"


PAGES = {
    "report": ("report", "none", "--html", "page.html"),
    "allreduce": ("bench", "allreduce", "--html", "page.html"),
    "time to accuracy": ("bench", "time-to-accuracy", "digits", "--html", "page.html"),
    "probe": ("probe", "--workers", 2, "--html", "page.html"),
    "sweep": ("sweep", "digits", "--html", "page.html"),
    "learning rates": ("train", "digits", "--find-lr"),
}


@pytest.mark.parametrize("command", PAGES)
def test_a_page_that_cannot_be_made_is_refused_before_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_extras(RUN, *PAGES[command], exit_code=2) == (
        "firetree: cannot make pages: No module named 'plotly'; pip install 'firetree[pages]'\n"
    )


def test_a_command_without_a_page_needs_no_pages(tmp_path: Path) -> None:
    asked = ("bench", "allreduce", "--world-size", 1, "--sizes", "1kB", "--repeats", 1)
    assert "gloo" in without_extras(RUN, *asked, "--rate", "1gbit")


def test_the_core_trains_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    told = without_extras(RUN, "train", "digits", "--optim.steps", 2, "--run-dir", tmp_path / "run")
    reason = "No module named 'tensorboard'; pip install 'firetree[tensorboard]'"
    assert f"cannot write TensorBoard events: {reason}" in told
    assert "test accuracy" in told


NEEDS = {
    "images": ("load('folder')", "cannot decode images: No module named 'PIL'"),
    "parquet": ("load('parquet')", "cannot read parquet files: No module named 'pyarrow'"),
    "pages": ("pages.check(Path('page.html'))", "cannot make pages: No module named 'plotly'"),
    "onnx": ("read_onnx(Path())", "cannot read ONNX: No module named 'onnx'"),
    "timm": (
        "models.build('timm:resnet18', classes=2, channels=3, size=32)",
        "cannot build networks of timm: No module named 'timm'",
    ),
    "lightning": (
        "import firetree.lightning",
        "cannot train with Lightning: No module named 'lightning'",
    ),
    "transformers": (
        "import firetree.transformers",
        "cannot train with transformers: No module named 'transformers'",
    ),
}


@pytest.fixture(scope="module")
def told() -> list[str]:
    code = f"""
from functools import partial
from pathlib import Path
from firetree import data, models
from firetree.commands import pages
from firetree.errors import UserError
from firetree.modelfiles.onnx import read_onnx
chosen = dict(path=Path(), classes=None, size=None, channels=None, test_fraction=0.5, seed=0)
load = partial(data.load, **chosen)
for statement in {[statement for statement, _ in NEEDS.values()]}:
    try:
        exec(statement)
    except UserError as error:
        print(error)
"""
    return without_extras(code).splitlines()


@pytest.mark.parametrize("extra", NEEDS)
def test_what_is_missing_is_named_with_its_extra(told: list[str], extra: str) -> None:
    assert f"{NEEDS[extra][1]}; pip install 'firetree[{extra}]'" in told
