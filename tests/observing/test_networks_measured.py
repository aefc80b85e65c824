"""A watched run of several hosts knows the network between them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import firetree
from firetree.probing import Probe
from firetree.trace import read_trace

SCRIPT = """
import sys
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import firetree

dist.init_process_group("gloo")
model = DistributedDataParallel(nn.Linear(500, 500))
firetree.attach(model, sys.argv[1], run_dir=sys.argv[2])
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for _ in range(20):
    optimizer.zero_grad()
    model(torch.ones(4, 500)).sum().backward()
    optimizer.step()
dist.destroy_process_group()
"""


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("algorithm", ["observe", pytest.param("ring", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_slow_port_of_a_host_is_named(algorithm: str, tmp_path: Path) -> None:
    script, run_dir = tmp_path / "mine.py", tmp_path / "run"
    script.write_text(SCRIPT)
    network = "1 x 100mbit + 1 x 20mbit:100mbit + 1 x 100mbit"
    command = [sys.executable, "-m", "firetree", "lab", "--network", network, "--"]
    job = [sys.executable, str(script), algorithm, str(run_dir)]
    subprocess.run([*command, *job], check=True, timeout=120)
    found = Probe.from_json((run_dir / "network.json").read_text())
    assert found.network.hosts[1].up_bytes_s == pytest.approx(20e6 / 8, rel=0.1)
    assert found.network.hosts[2].up_bytes_s == pytest.approx(100e6 / 8, rel=0.1)
    assert "probed" in {event.kind for event in read_trace(run_dir).events}
    verdict = firetree.report(run_dir).verdict
    assert verdict.kind == "slow_upload"
    assert "host 1" in verdict.sentence.lower()
