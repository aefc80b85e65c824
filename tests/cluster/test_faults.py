"""A rank that is killed, stopped or cut off in the middle of an all-reduce, in the lab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")
@pytest.mark.skipif(
    not (shutil.which("ip") and shutil.which("tc")), reason="the lab needs iproute2"
)
def test_every_other_rank_names_who_is_lost_in_time_and_nothing_is_left_behind() -> None:
    command = [sys.executable, str(SCRIPT), "--trials", "3", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "all 3 trials ended as they must" in done.stdout
