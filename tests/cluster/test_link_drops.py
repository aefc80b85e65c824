"""A link that drops right after the probe: what sums take is compared with the plan, so it is found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from command import COMMAND, LIMIT_S

from firetree.lab import Lab
from firetree.network import Network, parse_network, parse_rate
from firetree.probing import Probe
from firetree.trace import read_trace

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_left")]

EQUAL = parse_network("4 x 50mbit")

SCRIPT = """
import sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import firetree

dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(300, 300))
sums = firetree.attach(model, "auto")
print("attached", flush=True)
for number in range(int(sys.argv[1])):
    model.zero_grad()
    model(torch.full((1, 300), float(dist.get_rank()))).sum().backward()
    assert model.module.weight.grad[0, 0].item() == 1.5
    time.sleep(0.02)
print("ended with", sums.algorithm, flush=True)
dist.destroy_process_group()
"""


def lines_of(
    network: Network, command: Sequence[str], sign: str = "", slow: int = 3, rate: str = "5mbit"
) -> list[str]:
    """What rank 0 prints; once it has printed the sign, a host's link has another rate."""
    said = []
    with Lab(network) as lab:
        jobs = [
            lab.start(host, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for host in range(network.size)
        ]
        for line in jobs[0].stdout:
            said.append(line.strip())
            if sign and sign in line:
                lab.set_rate(slow, parse_rate(rate))
                sign = ""
        codes = [job.wait(LIMIT_S) for job in jobs]
    assert codes == [0] * network.size, said
    return said


def train(run_dir: Path, steps: int) -> list[str]:
    own = ["train", "digits", "--optim.steps", str(steps), "--plan", "auto"]
    return [*COMMAND, *own, "--run-dir", str(run_dir)]


def test_a_drop_between_probe_and_first_step_is_found_within_20_steps(tmp_path: Path) -> None:
    said = lines_of(EQUAL, train(tmp_path / "run", 40), "workers' worth")
    [news] = [line for line in said if "times as long as planned" in line]
    found = re.fullmatch(
        r"step (\d+): sums take \S+ times as long as planned; probed and planned anew: gloo → (.*)",
        news,
    )
    assert found, news
    assert int(found[1]) <= 20
    kinds = [event.kind for event in read_trace(tmp_path / "run").events]
    assert kinds == ["started", "probed", "planned", "slower", "probed", "planned", "ended"]
    probe = Probe.from_json((tmp_path / "run" / "network.json").read_text())
    assert probe.network.hosts[3].up_bytes_s == pytest.approx(625_000, rel=0.1)
    first, *_ = read_trace(tmp_path / "run").ranks
    assert {step.algorithm for step in first.steps} == {"gloo", found[2]}
    [gap] = [step for step in first.steps if step.other_s > 1.0]
    assert gap.step == int(found[1])


def test_healthy_links_are_probed_once(tmp_path: Path) -> None:
    said = lines_of(EQUAL, train(tmp_path / "run", 60))
    assert not any("times as long" in line for line in said)
    kinds = [event.kind for event in read_trace(tmp_path / "run").events]
    assert kinds == ["started", "probed", "planned", "ended"]


def test_a_slow_host_is_named_before_training_and_can_stop_it(tmp_path: Path) -> None:
    command = [*train(tmp_path / "run", 5), "--if-slower", "stop"]
    with Lab(parse_network("3 x 500mbit + 1 x 5mbit")) as lab:
        jobs = [
            lab.start(host, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for host in range(4)
        ]
        said = [job.communicate(timeout=LIMIT_S)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [2] * 4
    assert "nothing is trained, as if_slower is stop: 4 workers: " in said[0]
    assert "; without rank 3, whose links are slow: " in said[0]
    assert not (tmp_path / "run" / "recipe.toml").exists()


@pytest.mark.parametrize(
    ("network", "trained", "said_by_rank_0"),
    [
        ("3 x 500mbit + 1 x 5mbit", 3, "ranks 0, 1 and 2 train; 4 workers: "),
        ("2 x 5mbit", 1, "rank 0 trains alone; 2 workers: "),
    ],
)
def test_fewer_hosts_train_where_these_are_faster(
    network: str, trained: int, said_by_rank_0: str, tmp_path: Path
) -> None:
    hosts = parse_network(network)
    with Lab(hosts) as lab:
        jobs = [
            lab.start(
                host,
                train(tmp_path / "run", 5),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for host in range(hosts.size)
        ]
        said = [job.communicate(timeout=LIMIT_S)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * hosts.size
    assert said_by_rank_0 in said[0]
    assert f"rank {hosts.size - 1} ends here: {said_by_rank_0}" in said[-1]
    trace = read_trace(tmp_path / "run")
    assert [len(rank.steps) for rank in trace.ranks] == [5] * trained
    assert trace.events[-2].text.startswith(said_by_rank_0)


def test_attached_sums_take_another_way_once_a_link_drops(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = lines_of(EQUAL, [sys.executable, str(script), "60"], "attached")
    [slower] = [line for line in said if "times as long as planned" in line]
    assert "; measured 4 hosts in " in slower
    before, after = (line for line in said if "should take" in line)
    assert before != after


def test_attached_sums_on_healthy_links_keep_their_way(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = lines_of(EQUAL, [sys.executable, str(script), "200"])
    # A machine with other work makes sums longer than priced, which links do not explain.
    assert sum("should take" in line for line in said) == 1, said
