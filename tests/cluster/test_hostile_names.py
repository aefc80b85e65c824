"""Names of a stranger's classes and images go through every command without steering the terminal."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cluster.command import COMMAND, LIMIT_S, firetree

CLASSES = (
    "\x1b[31mred\x1b]0;title\x07",
    "[bold]b[/bold]\n\u202e:smile:",
    os.fsdecode(b"caf\xe9\x9b2J"),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "images"
    dice = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = dice.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}\x1b[2J.png")
    return folder


def test_no_command_prints_a_sign_that_steers_a_terminal(images: Path, tmp_path: Path) -> None:
    run, small, page = tmp_path / "\x1b[5mrun", tmp_path / "small.fire", tmp_path / "page.html"
    damaged = tmp_path / "damaged\x1b[2J.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    of_folder = ("--data.name", "folder", "--data.path", images, "--optim.steps", 1)
    for arguments in (
        ("train", "digits", "--run-dir", run, *of_folder),
        ("report", run, "--html", page),
        ("predict", run, images, damaged),
        ("predict", run, images, damaged, "--json"),
        ("compress", run, small, "--lossless"),
        ("inspect", small),
        ("predict", small, images),
        ("predict", tmp_path / "no\x1b[2Jthing", images),
    ):
        _, out, err = firetree(*arguments)
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err), arguments
        assert "unexpected" not in err
        if arguments[:2] == ("predict", small):
            assert r"\x1b[31mred\x1b]0;title\x07" in out
            assert r"[bold]b[/bold]\x0a\u202e:smile:" in out
        elif "thing" not in str(arguments[1]):
            assert not err or arguments[0] != "predict", err


def test_letters_that_an_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = firetree("report", tmp_path / "ü 日本", environ=ascii_alone)
    assert (code, out) == (2, "")
    assert r"no run folder " in err


def test_an_output_that_is_full_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "inspect", "squeezenet_small"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
    assert done.returncode == 1
    assert done.stderr == "firetree: cannot write to standard output: No space left on device\n"


def test_too_few_open_files_are_named(tmp_path: Path) -> None:
    words = f"train digits --workers 2 --optim.steps 2 --run-dir {tmp_path / 'run'}"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n 16; exec {' '.join(COMMAND)} {words}"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "firetree: only 16 open files are allowed; expected 64 or more, as by ulimit -n 64\n"
    )
