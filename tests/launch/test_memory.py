"""Memory that a step frees is there for the next one without the kernel's help."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, statistics, sys, torch
from firetree.launch import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
torch.set_num_threads(1)
def step():
    torch.ones(1 << 24)  # 64 MiB
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
step()
print(statistics.median_low(faults() for _ in range(21)))
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is not glibc")
def test_a_step_meets_no_new_pages() -> None:
    # Pages of 4 kB, or of 2 MB where the kernel makes large ones of them. The median, because
    # small pieces may at first take their places in the middle of what a step has freed.
    assert faults("given back") >= 32
    assert faults("kept") < 32
