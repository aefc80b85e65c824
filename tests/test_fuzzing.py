"""A small part of `reproduce/fuzzing.py`: changed files of strangers are read or refused, never more."""

from __future__ import annotations

from pathlib import Path

import pytest
from formats import FORMATS
from fuzzing import fuzz

QUICK = [name for name in FORMATS if name not in ("dictionary", ".net", ".onnx")]


@pytest.mark.parametrize("name", QUICK)
def test_a_changed_file_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    found = fuzz(FORMATS[name], FORMATS[name].cases(), tmp_path, inputs=30)
    assert not found.places
    assert found.ends["read"] + found.ends["named"] == 30
