"""The package as its users see it: every name is there, documented and typed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import firetree

SCRIPT = Path(__file__).with_name("user_script.py")


@pytest.mark.parametrize("name", sorted({*firetree.__all__} - {"__version__"}))
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(firetree, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        assert all(f"{it}:" in str(value.__doc__) for it in inspect.signature(value).parameters)


def test_a_users_script_is_typed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
