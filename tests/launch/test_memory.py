"""Memory that a step frees is there for the next one without the kernel's help."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from firetree.launch import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
torch.set_num_threads(1)
def step():
    torch.ones(1 << 24)  # 64 MiB
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is not glibc")
def test_a_step_meets_no_new_pages() -> None:
    # Pages of 4 kB, or of 2 MB where the kernel makes large ones of them.
    assert faults("given back") >= 4 * 32
    assert faults("kept") < 32
