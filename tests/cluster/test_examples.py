"""The scripts in `examples/` run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run(*command: object, exit_code: int = 0) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=200)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_gpt_learns_its_own_documentation_under_torchrun() -> None:
    small = ("--steps", 40, "--width", 64, "--layers", 1, "--batch-size", 4)
    said = run(*TORCHRUN, EXAMPLES / "gpt_text.py", *small)
    assert float(re.search(r"step 40: loss ([\d.]+)", said)[1]) < 5.0, "of log(256) = 5.5"
    assert "\nThe network " in said


def test_the_resnet_reads_cifar10s_binary_files_under_torchrun(tmp_path: Path) -> None:
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        rows = torch.randint(256, (20, 3073), dtype=torch.uint8)
        rows[:, 0] %= 10
        (tmp_path / name).write_bytes(rows.numpy().tobytes())
    small = ("--steps", 2, "--batch-size", 8)
    said = run(*TORCHRUN, EXAMPLES / "resnet_cifar10.py", "--data", tmp_path, *small)
    assert re.search(r"step 2: loss [\d.]+, test accuracy \d+\.00%", said)


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("resnet_cifar10", ("--data", "none"), "none has no data_batch_1.bin; expected the files"),
        ("gpt_text", ("--text", "/dev/null"), "the text has 0 bytes; expected more than 128"),
    ],
)
def test_an_example_without_its_data_says_so(
    name: str, arguments: tuple[str, ...], line: str
) -> None:
    said = run(sys.executable, EXAMPLES / f"{name}.py", *arguments, exit_code=1)
    assert said.startswith(line)
    assert said.count("\n") == 1
