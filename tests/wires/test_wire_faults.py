"""Ranks that are killed or stopped, and connections that are cut, amid all-reduces over wires."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "wire_faults.py"


@pytest.mark.parametrize("faults", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_after_a_drawn_fault_ranks_end_in_an_error_and_no_sum_is_wrong(faults: int) -> None:
    command = [sys.executable, str(SCRIPT), "--faults", str(faults), "--seed", "1", "--no-table"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"0 of {faults} trials did not end as they must" in done.stdout
