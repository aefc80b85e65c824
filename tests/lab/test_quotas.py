"""A host's processes use the CPU time that they may, all together, and no limit is left behind."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firetree.lab import Fault, Lab, clean, describe, quotas, run_command
from firetree.lab.namespaces import processes

pytestmark = pytest.mark.usefixtures("nothing_left")

BUSY = """
import os, subprocess, sys
if len(sys.argv) > 1: subprocess.Popen([sys.executable, "-c", "while True: pass"])
while True: pass
"""
OWNER = """
import time
from firetree.lab import Lab, describe
with Lab(describe(2, "1gbit")) as lab:
    lab.start(1, ["sleep", "60"])
    lab.limit_cpu(1, 0.5)
    print(lab.namespace(1), flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["control groups", "signals"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "signals":
        monkeypatch.setattr(quotas, "control_groups", lambda: None)
    elif quotas.control_groups() is None:
        pytest.skip("no control groups with a CPU controller here")
    return str(request.param)


@pytest.fixture
def lab(way: str) -> Iterator[Lab]:
    with Lab(describe(2, "1gbit")) as lab:
        yield lab
    assert groups(lab.namespace(0).rpartition("-")[0]) == []


def groups(prefix: str) -> list[Path]:
    """The control groups whose names begin so."""
    return [path for path in Path("/sys/fs/cgroup").glob(f"**/{prefix}*") if path.is_dir()]


def spent_s(lab: Lab, host: int) -> float:
    """The CPU time of all that runs on the host."""
    return sum(quotas._cpu_s(pid) for pid in processes([lab.namespace(host)]))


def share(lab: Lab, host: int, span_s: float = 1.0) -> float:
    """How many cores the host uses during a span."""
    before, start = spent_s(lab, host), time.monotonic()
    time.sleep(span_s)
    return (spent_s(lab, host) - before) / (time.monotonic() - start)


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_all_processes_of_a_host_share_its_limit(lab: Lab) -> None:
    lab.limit_cpu(1, 0.3)
    lab.start(0, [sys.executable, "-c", BUSY])
    lab.start(1, [sys.executable, "-c", BUSY, "two"])
    wait_for(lambda: len(processes([lab.namespace(1)])) == 2 and spent_s(lab, 0) > 0.3)
    limited, free = share(lab, 1), share(lab, 0)
    assert 0.1 < limited < 0.4
    assert free > limited


def test_a_limit_can_be_set_changed_and_lifted_while_processes_run(lab: Lab) -> None:
    lab.start(1, [sys.executable, "-c", BUSY])
    wait_for(lambda: spent_s(lab, 1) > 0.2)
    lab.limit_cpu(1, 0.1)
    time.sleep(0.3)
    least = share(lab, 1)
    assert least < 0.2
    lab.limit_cpu(1, math.inf)
    assert share(lab, 1) > 2 * least


def test_a_paused_host_with_a_limit_does_nothing_until_it_is_resumed(lab: Lab) -> None:
    lab.limit_cpu(1, 0.5)
    lab.start(1, [sys.executable, "-c", BUSY])
    wait_for(lambda: spent_s(lab, 1) > 0.2)
    lab.pause(1)
    time.sleep(0.1)
    assert share(lab, 1, 0.5) == 0
    lab.resume(1)
    wait_for(lambda: share(lab, 1, 0.2) > 0.1)


def test_a_fault_limits_a_host_from_its_second_on(way: str) -> None:
    script = (
        "import time\n"
        "def share(span_s):\n"
        "    start_s, before_s = time.monotonic(), time.process_time()\n"
        "    while time.monotonic() < start_s + span_s: pass\n"
        "    return (time.process_time() - before_s) / span_s\n"
        "before = share(1.0); share(1.0); print(share(1.0) / before)\n"
    )
    out = io.BytesIO()
    with Lab(describe(1, "1gbit")) as lab:
        run_command(lab, [sys.executable, "-c", script], [Fault(1.3, "cpu", 0, cores=0.1)], out=out)
    assert float(out.getvalue()) < 0.6


def test_a_killed_owner_leaves_no_group_after_clean() -> None:
    if quotas.control_groups() is None:
        pytest.skip("no control groups with a CPU controller here")
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    assert len(groups(name)) == 1
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert name in clean()
    assert groups(name) == []
